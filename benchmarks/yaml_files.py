"""YAML is read and written here and nowhere else: plain values as YAML 1.2 has them, no tags that make objects."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from benchmarks.errors import UserError


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML 1.2 mapping: `3e-4` is a number, `72:00:00` and `no` are text, a key given twice is an error.

    Raises UserError for a file that is no YAML in UTF-8, or no mapping.
    """
    try:
        data = parse_yaml(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError.about(str(path), "(unreadable)", "valid YAML in UTF-8", f"mend the file: {error}") from None
    if not isinstance(data, dict):
        raise UserError.about(str(path), data, "a mapping of fields to values", "write `field: value` lines")
    return data


def parse_yaml(text: str) -> Any:
    """Return the value that YAML 1.2 text stands for. Raises ValueError where it is no YAML."""
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 (a SafeLoader)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None


def to_yaml(data: dict[str, Any]) -> str:
    """Return a mapping as YAML, its keys in their order; `parse_yaml` makes the same mapping of it."""
    text: str = yaml.dump(data, Dumper=_Dumper, sort_keys=False)
    return text


class _Loader(yaml.SafeLoader):
    """SafeLoader for YAML 1.2's plain values, with duplicate keys refused.

    YAML 1.1 would read `72:00:00` as 259200, `no` as false and `010` as 8; here they are text.
    """

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value if not key.tag.endswith(":merge")]
        twice = {str(key) for key in keys if keys.count(key) > 1}
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"given twice: {', '.join(twice)}", node.start_mark)
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
