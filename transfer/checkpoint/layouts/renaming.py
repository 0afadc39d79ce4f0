"""Renaming tensors between two layouts by tables of rules, read in either direction.

Names that no rule knows are kept as they are, so that a load report can name them; no tensor is invented or lost.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from benchmarks.errors import UserError
from transfer.checkpoint.layouts.layout import Shapes, Weights

if TYPE_CHECKING:
    from torch import Tensor

Convert = Callable[["Tensor"], "Tensor"]


@dataclass(frozen=True)
class Rule:
    """One pattern of names, in their layout and in ours (timm's).

    Templates hold `{i}` (number of a stage or layer), `{j}` (number of a block) and `{rest}`. Rules are tried in order
    and the first that fits is taken, so that a special name goes before a general one, and a name's present spelling
    before its older ones.
    """

    theirs: str
    ours: str
    times: int = 1
    plus: int = 0
    """Their `{i}` is `times * i + plus`."""
    read: Convert | None = None
    """Converts a tensor of theirs to ours; None keeps it as it is."""
    write: Convert | None = None
    """The inverse of `read`."""

    def our_name(self, theirs: str) -> str | None:
        """Return our name for their tensor, None where this rule does not apply."""
        fields = _fields(self.theirs, theirs)
        if fields is None:
            return None
        if "i" in fields:
            number, remainder = divmod(int(fields["i"]) - self.plus, self.times)
            if remainder or number < 0:
                return None
            fields["i"] = str(number)
        return self.ours.format(**fields)

    def their_name(self, ours: str) -> str | None:
        """Return their name for our tensor, None where this rule does not apply."""
        fields = _fields(self.ours, ours)
        if fields is None:
            return None
        if "i" in fields:
            number = self.times * int(fields["i"]) + self.plus
            if number < 0:
                return None
            fields["i"] = str(number)
        return self.theirs.format(**fields)


def to_ours(weights: Weights, rules: Iterable[Rule]) -> Weights:
    """Rename and convert their tensors. Raises UserError where two of them would become one."""
    return _rename(weights, tuple((rule.our_name, rule.read) for rule in rules))


def to_theirs(weights: Weights, rules: Iterable[Rule]) -> Weights:
    """Rename and convert our tensors. Raises UserError where two of them would become one."""
    return _rename(weights, tuple((rule.their_name, rule.write) for rule in rules))


def matches(shapes: Shapes, pattern: str) -> bool:
    """Return whether any tensor's whole name matches the regular expression."""
    return any(re.fullmatch(pattern, name) for name in shapes)


def join(weights: Weights, parts: tuple[str, ...], whole: str) -> Weights:
    """Stack tensors `<prefix><part>` along dimension 0 to `<prefix><whole>`, in the order of `parts`.

    Where a part is missing, or parts cannot be stacked, all stay under their own names: the whole is then missing.
    """
    from torch import cat

    joined = dict(weights)
    for prefix in [name.removesuffix(parts[0]) for name in weights if name.endswith(parts[0])]:
        found = [weights[prefix + part] for part in parts if prefix + part in weights]
        if len(found) == len(parts) and len({(tensor.shape[1:], tensor.dtype) for tensor in found}) == 1:
            for part in parts:
                del joined[prefix + part]
            joined[prefix + whole] = cat(found)
    return joined


def split(weights: Weights, whole: str, parts: tuple[str, ...]) -> Weights:
    """Undo `join`: cut tensors `<prefix><whole>` into equal parts. What cannot be cut so keeps its name."""
    cut: Weights = {}
    for name, tensor in weights.items():
        if name.endswith(whole) and tensor.ndim and tensor.shape[0] % len(parts) == 0:
            chunks = tensor.chunk(len(parts))
            cut |= {name.removesuffix(whole) + part: c.clone() for part, c in zip(parts, chunks, strict=True)}
        else:
            cut[name] = tensor
    return cut


def _rename(weights: Weights, rules: tuple[tuple[Callable[[str], str | None], Convert | None], ...]) -> Weights:
    renamed: Weights = {}
    for name, tensor in weights.items():
        found = ((rename(name), convert) for rename, convert in rules)
        new_name, convert = next(((new, convert) for new, convert in found if new is not None), (name, None))
        if new_name in renamed:
            rule = "a tensor that the checkpoint holds once"
            raise UserError.about("tensor", new_name, rule, f"`{name}` and another both become it: remove one of them")
        renamed[new_name] = tensor if convert is None else convert(tensor)
    return renamed


def _fields(template: str, name: str) -> dict[str, str] | None:
    match = _pattern(template).fullmatch(name)
    return match.groupdict() if match else None


@cache
def _pattern(template: str) -> re.Pattern[str]:
    pattern = re.escape(template).replace(r"\{i\}", r"(?P<i>\d+)").replace(r"\{j\}", r"(?P<j>\d+)")
    return re.compile(pattern.replace(r"\{rest\}", r"(?P<rest>.+)"))
