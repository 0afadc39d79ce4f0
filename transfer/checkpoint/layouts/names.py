"""What a tensor is called in the user's own file, wrappers included, for users do not know timm's names.

Which of the file's tensors one of timm's is made of is observed: the layout reads the file's names once more with
tensors that remember what they came from. So renaming, joining and splitting need no second table of names.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from benchmarks.errors import UserError, printable
from transfer.checkpoint.layouts.layout import Layout, Shapes, Weights

_NUMBER = re.compile(r"\d+")
# The name of a tensor of timm's among the words of a message.
_TENSOR = re.compile(
    r"(?<![\w.])(?:(?:patch_embed|layers|blocks|norm|norm_pre|head\.norm|rel_pos_bias|stem|stages|layer[1-4]|conv1|bn1|attn_pool|neck)"
    r"\.[\w.]*\w*[a-z]|(?:cls_token|pos_embed|reg_token|dist_token))(?![\w.*])"
)


@dataclass(frozen=True)
class FileNames:
    """The names of one file's encoder, found from timm's names."""

    layout: Layout
    prefix: str
    """What wraps every name in the file, e.g. `module.backbone.`."""
    shapes: Shapes
    """The shapes of the encoder's tensors, under the layout's names."""
    outside: Mapping[str, str] = field(default_factory=dict)
    """Full names of the tensors that are not wrapped as the others are."""

    def in_file(self, name: str) -> str:
        """Return " (in the file: NAMES)" to follow timm's `name` in a message, "" where the file has the same name."""
        found = self.of(name)
        if found == (name,):
            return ""
        return f" (in the file: {', '.join(found)})" if found else " (timm's name)"

    def of(self, name: str) -> tuple[str, ...]:
        """Return the file's own names of the faulty tensor that timm calls `name`; none where they cannot be found.

        For a tensor that the file keeps in parts, these are the parts that are missing, else those of another shape
        than the rest, else all.
        """
        parts = self._made_of.get(name) or self._would_be_made_of(name)
        missing = [part for part in parts if part not in self.shapes]
        return tuple(self.outside.get(part, self.prefix + part) for part in sorted(missing or self._odd(parts)))

    def explain(self, error: UserError) -> UserError:
        """Return the same error, followed by the file's own names of the tensors that it mentions."""
        own = [name for tensor in _TENSOR.findall(str(error)) for name in self.of(tensor) if name != tensor]
        if not own:
            return error
        known = f"\n  in the file: {printable(', '.join(own))}"
        if error.parts is None:
            return UserError(f"{error}{known}")
        field, value, rule, remedy = error.parts
        return UserError.about(field, value, rule, f"{remedy}{known}")

    @cached_property
    def _made_of(self) -> dict[str, frozenset[str]]:
        """The file's names that each of timm's names is read from."""
        return self._read(self.shapes)

    def _read(self, shapes: Shapes) -> dict[str, frozenset[str]]:
        from transfer.checkpoint.layouts.traced import origins_of, traced

        read = self.layout.to_timm({name: traced(name, shape) for name, shape in shapes.items()})
        return {name: origins_of(tensor) for name, tensor in read.items()}

    def _odd(self, parts: Iterable[str]) -> list[str]:
        shapes = Counter(self.shapes[part] for part in parts)
        usual = shapes.most_common(1)[0][0] if len(shapes) > 1 else None
        return [part for part in parts if self.shapes[part] != usual]

    def _would_be_made_of(self, name: str) -> frozenset[str]:
        """Return, for a tensor that is missing, the first guess at its names from which it would indeed be read."""
        for guess in self._guesses(name):
            tried = dict.fromkeys(guess, (12,))  # of one shape, that can be cut in three, or in four
            try:
                if self._read({**self.shapes, **tried}).get(name) == guess:
                    return guess
            except UserError:  # two tensors would have become one
                continue
        return frozenset()

    def _guesses(self, name: str) -> Iterable[frozenset[str]]:
        """Yield guesses: names as in other blocks, as the layout writes them, and spelt as the most similar names are.

        The layout's own comes twice: early where the file has such names elsewhere, and at the end in any case.
        """
        kind, numbers = _kind(name), _NUMBER.findall(name)
        for relative, parts in self._made_of.items():
            if _kind(relative) == kind and all(_NUMBER.findall(part) == _NUMBER.findall(relative) for part in parts):
                yield frozenset(_renumbered(part, numbers) for part in parts)
                break
        written = self._as_written(name)
        if {_kind(part) for part in written} <= set(map(_kind, self.shapes)):
            yield written
        for relative, parts in sorted(self._made_of.items(), key=lambda item: -_shared(name, item[0])):
            if (shared := _shared(name, relative)) and all(part.endswith(relative[shared:]) for part in parts):
                yield frozenset(part[: len(part) - len(relative) + shared] + name[shared:] for part in parts)
                break
        yield written

    def _as_written(self, name: str) -> frozenset[str]:
        """Return the names under which the layout writes timm's `name`, given the other names of a whole encoder."""
        from transfer.checkpoint.layouts.traced import origins_of, traced

        numbers = _NUMBER.findall(name)
        block = {_renumbered(other, numbers) for other in self._made_of if len(_NUMBER.findall(other)) == len(numbers)}
        whole: Weights = {other: traced(other, (12,)) for other in (*self._made_of, *block, name)}
        written = self.layout.named_back(whole)
        return frozenset(part for part, tensor in written.items() if name in origins_of(tensor))


def differing(names: FileNames | None, timm: Iterable[str]) -> dict[str, list[str]]:
    """Return, by timm's name, the file's own names of the tensors that it calls otherwise."""
    if names is None:
        return {}
    found: Mapping[str, tuple[str, ...]] = {name: names.of(name) for name in timm}
    return {name: list(own) for name, own in found.items() if own and own != (name,)}


def _shared(name: str, other: str) -> int:
    """Return how many letters two names share, up to the last dot among them; 0 for the same name."""
    shared = 0
    for at, (one, two) in enumerate(zip(name, other, strict=False)):
        if one != two:
            break
        shared = at + 1 if one == "." else shared
    return shared if name != other else 0


def _kind(name: str) -> str:
    return _NUMBER.sub("#", name)


def _renumbered(name: str, numbers: list[str]) -> str:
    left = iter(numbers)
    return _NUMBER.sub(lambda _: next(left), name)
