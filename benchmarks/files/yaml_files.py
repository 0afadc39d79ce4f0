"""YAML is read and written here and nowhere else: plain values as YAML 1.2 has them, no tags that make objects.

A file may come from somebody else, so its size, its depth, its values with every alias written out, and the length of
its numbers are bounded, and each is counted before memory is spent on it.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from benchmarks.errors import UserError

LARGEST_BYTES = 2**20
MOST_VALUES = 100_000
"""The most values of a document, keys included, with every alias written out."""
DEEPEST = 50
"""The most levels of lists and mappings, with every alias written out."""
TYPOGRAPHIC = tuple("\u201c\u201d\u201e\u2018\u2019\u201a")
"""Quotation marks of word processors: to YAML they are letters of the value."""
LONGEST_NUMBER = 100
"""The most characters of one number."""


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML 1.2 mapping: `3e-4` is a number, `72:00:00` and `no` are text, a key given twice is an error.

    Fields of the file that begin with `x-` are left out: they are the file's own, for anchors. Raises UserError for a
    file that is no YAML in UTF-8, or no mapping.
    """
    try:
        with path.open("rb") as file:
            text = file.read(LARGEST_BYTES + 1)
        if len(text) > LARGEST_BYTES:
            raise ValueError(f"more than {LARGEST_BYTES:,} bytes")
        data = parse_yaml(_decoded(text))
    except ValueError as error:
        raise UserError.about(str(path), "(unreadable)", "valid YAML in UTF-8", f"correct the file: {error}") from None
    if data is None:
        raise UserError.about(str(path), "(empty)", "a mapping of fields to values", "write `field: value` lines")
    if not isinstance(data, dict):
        raise UserError.about(str(path), data, "a mapping of fields to values", "write `field: value` lines")
    return {key: value for key, value in data.items() if not str(key).startswith("x-")}


def _decoded(text: bytes) -> str:
    """Return what bytes in UTF-8 say. Raises ValueError, with the line, for those of another encoding."""
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        line, byte = text.count(b"\n", 0, error.start) + 1, text[error.start]
        raise ValueError(f"line {line} has the byte 0x{byte:02x}, which is not UTF-8: save it as UTF-8") from None


def parse_yaml(text: str) -> Any:
    """Return the value that YAML 1.2 text stands for. Raises ValueError where it is no YAML, or beyond the bounds."""
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 (a SafeLoader)
    except yaml.MarkedYAMLError as error:
        raise ValueError(_in_words(error, text)) from None
    except (yaml.YAMLError, LookupError, AttributeError, TypeError) as error:  # the last three of a wrong !!tag
        raise ValueError(str(error)) from None


def _in_words(error: yaml.MarkedYAMLError, text: str) -> str:
    """Return what is wrong in which line: the one where a value begins that is never finished, if there is one."""
    mark = error.context_mark or error.problem_mark
    if mark is None:
        return str(error)
    line = text.splitlines()[mark.line].strip() if mark.line < len(text.splitlines()) else ""
    wrong = next((words for said, words in _WORDS.items() if said in str(error.problem)), error.problem)
    return f"line {mark.line + 1}, `{line[:80]}`: {wrong}"


_WORDS = {
    "expected ':'": "a field without a colon: write `field: value`",
    "'\\t' that cannot start": "a tab: indent with spaces",
}
"""What PyYAML says, by a part of it, in words for the person who wrote the file."""


def to_yaml(data: dict[str, Any]) -> str:
    """Return a mapping as YAML, its keys in their order; `parse_yaml` reads the same mapping from it."""
    text: str = yaml.dump(data, Dumper=_Dumper, sort_keys=False)
    return text


class _Loader(yaml.SafeLoader):
    """SafeLoader for YAML 1.2's plain values, with duplicate keys refused, and with bounds.

    YAML 1.1 would read `72:00:00` as 259200, `no` as false and `010` as 8; here they are text.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._level = self._composed = 0
        self._extents: dict[Any, tuple[int, int]] = {}

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Compose one node, and refuse it as soon as it passes a bound."""
        alias, mark = self.check_event(yaml.AliasEvent), self.peek_event().start_mark  # type: ignore[no-untyped-call]
        self._composed += 1
        self._level += 1
        self._refuse_beyond(self._composed, self._level, mark)
        node = super().compose_node(parent, index)
        self._level -= 1
        if isinstance(node, yaml.ScalarNode) and node.style is None and node.value.startswith(TYPOGRAPHIC):
            raise yaml.composer.ComposerError(None, None, "a typographic quotation mark: write \" or '", mark)
        if not alias:
            self._extents[node] = self._extent(node)
            self._refuse_beyond(*self._extents[node], mark)
        elif node not in self._extents:
            raise yaml.composer.ComposerError(None, None, "a value that contains itself", mark)
        return node

    def _extent(self, node: Any) -> tuple[int, int]:
        """Return how many values a node stands for, and how many levels. A node that contains itself has none yet."""
        if isinstance(node, yaml.ScalarNode):
            if node.tag.endswith((":int", ":float")) and len(node.value) > LONGEST_NUMBER:
                rule = f"a number of more than {LONGEST_NUMBER} characters"
                raise yaml.composer.ComposerError(None, None, rule, node.start_mark)
            return 1, 1
        children = node.value if isinstance(node, yaml.SequenceNode) else [each for pair in node.value for each in pair]
        inner = [self._extents[child] for child in children]
        return 1 + sum(count for count, _ in inner), 1 + max((levels for _, levels in inner), default=0)

    def _refuse_beyond(self, values: int, levels: int, mark: Any) -> None:
        if values > MOST_VALUES:
            rule = f"more than {MOST_VALUES:,} values, with every alias written out"
        elif levels > DEEPEST:
            rule = f"more than {DEEPEST} levels of lists and mappings, with every alias written out"
        else:
            return
        raise yaml.composer.ComposerError(None, None, rule, mark)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[Hashable] = set()
        for each, _ in node.value:
            if each.tag.endswith(":merge") or not isinstance(key := self.construct_object(each, deep=True), Hashable):
                continue
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"given twice: {key}", each.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """SafeDumper that quotes whatever `_Loader`, or a YAML 1.1 reader, would not read as text."""


_PLAIN_VALUES = {
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "bool": (r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    "int": (r"[-+]?(0|[1-9][0-9]*)", list("-+0123456789")),
    "float": (
        r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?|[-+]?\.(inf|nan)",
        list("-+.0123456789"),
    ),
    "merge": (r"<<", ["<"]),
}
_Loader.yaml_implicit_resolvers = {}
for _kind, (_pattern, _first) in _PLAIN_VALUES.items():
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", re.compile(f"^(?:{_pattern})$"), _first)
    _Dumper.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", re.compile(f"^(?:{_pattern})$"), _first)
