"""Pairs of names between a foreign layout and timm's, read in both directions."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from benchmarks.errors import UserError
from transfer.checkpoint.layouts.layout import Family, Layout, Shapes, Weights

if TYPE_CHECKING:
    from torch import Tensor

Pairs = tuple[tuple[str, str], ...]
Join = tuple[tuple[str, ...], str]
"""Foreign matrices that timm keeps as one, and timm's name for it."""
Reshape = Callable[["Tensor"], "Tensor"]


@dataclass(frozen=True)
class Names:
    """A layout's names. `{}` stands for the number of a block; a pair covers a module's weight and bias as well."""

    pairs: Pairs
    """Pairs (foreign, timm). Where several foreign names mean one of timm's, the first is the one we write."""
    joins: tuple[Join, ...] = ()
    """The names of query, key and value where they are apart; the first join is the one we write."""
    beside: tuple[str, ...] = ()
    """Beginnings of names that are no part of the encoder: heads, decoders, mask tokens, buffers."""
    reshaped: tuple[tuple[str, Reshape], ...] = ()
    """Timm's names of tensors that have another shape in the layout, with what gives them timm's. A tensor whose
    shape the function does not expect stays as it is, so that the load report shows it."""

    def to_timm(self, weights: Weights) -> Weights:
        """Rename and join the tensors. One that has no pair keeps its name, so that the load report shows it."""
        found = without(weights, self.beside)
        for parts, joined in self.joins:
            found = _join(found, parts, joined)
        renamed: Weights = {}
        for name, tensor in found.items():
            target = translate(name, self.pairs) or name
            renamed[name if target in renamed else target] = tensor
        for pattern, reshape in self.reshaped:
            matching = [name for name in renamed if translate(name, ((pattern, pattern),))]
            renamed |= {name: reshape(renamed[name]) for name in matching}
        return renamed

    def from_timm(self, weights: Weights, target: str) -> Weights:
        """Invert `to_timm`. Raises UserError for a tensor that the layout `target` has no place for."""
        renamed: Weights = {}
        for name, tensor in self._apart(weights, target).items():
            foreign = translate(name, self._back)
            if foreign is None:
                remedy = f"choose another --to: {target} cannot hold this encoder without losing something"
                raise UserError.about("tensor", name, f"one that {target} has a place for", remedy)
            renamed[foreign] = tensor
        return renamed

    def names_back(self, weights: Weights) -> Weights:
        """Invert `to_timm` as far as there are pairs: the names are for messages."""
        return {translate(name, self._back) or name: tensor for name, tensor in self._apart(weights, "it").items()}

    def layout(self, name: str, family: Family, description: str, recognises: Callable[[Shapes], bool]) -> Layout:
        """Return a layout that is read by these names alone."""
        return Layout(name, family, description, recognises, self.to_timm, names_back=self.names_back)

    @property
    def _back(self) -> Pairs:
        apart = tuple((part, part) for parts, _ in self.joins[:1] for part in parts)
        return apart + tuple((timm, foreign) for foreign, timm in self.pairs)

    def _apart(self, weights: Weights, target: str) -> Weights:
        return _split(weights, *self.joins[0], target) if self.joins else weights


def translate(name: str, pairs: Pairs) -> str | None:
    """Return the name that `pairs` (from, to) give a tensor, None where no pair covers it."""
    for source, target in pairs:
        if match := _pattern(source).fullmatch(name):
            *number, end = match.groups()
            return target.format(*number) + end
    return None


@lru_cache(maxsize=4096)
def _pattern(source: str) -> re.Pattern[str]:
    ends = "weight|bias|running_mean|running_var|num_batches_tracked"
    return re.compile(re.escape(source).replace(r"\{\}", r"(\d+)") + rf"((?:\.(?:{ends}))?)")


def without(weights: Weights, beginnings: tuple[str, ...]) -> Weights:
    """Return the tensors whose names begin with none of `beginnings`."""
    return {name: tensor for name, tensor in weights.items() if not name.startswith(beginnings)}


def anywhere(names: Iterable[str], pattern: str) -> bool:
    """Return whether any whole name matches: so a file that lacks one block's tensor is still recognised."""
    return any(map(re.compile(pattern).fullmatch, names))


def is_image_patch(shapes: Shapes, name: str) -> bool:
    """Return whether a patch projection is that of images (videos have five dimensions), or missing in the file."""
    return len(shapes.get(name, (0,) * 4)) == 4


def has_timm_blocks(shapes: Shapes) -> bool:
    """Return whether tensors are a plain transformer's, as timm and those who build on it name them."""
    block = r"blocks\.(\d+\.)+"
    whole = anywhere(shapes, block + r"attn\.qkv\.weight") and anywhere(shapes, block + r"norm1\.weight")
    return whole and is_image_patch(shapes, "patch_embed.proj.weight")


def has_relative_positions(shapes: Shapes) -> bool:
    """Return whether attention is BEiT's (biases of query and value only, tables of relative positions), not ViT's."""
    return anywhere(shapes, r"(.+\.)?(q_bias|v_bias|relative_position_bias_table|relative_position_index)")


def has_two_tokens(shapes: Shapes, token: str, table: str) -> bool:
    """Return whether there is a second token; where it is missing, whether the table has two rows more than patches."""
    rows = shapes.get(table, (1, 0, 0))[1] if len(shapes.get(table, ())) == 3 else 0
    registers = "reg_token" in shapes or "register_tokens" in shapes
    odd = rows > 2 and math.isqrt(rows - 2) ** 2 == rows - 2 and math.isqrt(rows - 1) ** 2 != rows - 1
    return token in shapes or (odd and not registers and math.isqrt(rows) ** 2 != rows)


def require(weights: Weights, names: Iterable[str], target: str) -> None:
    """Raise UserError where a tensor that the layout `target` always has is missing."""
    for name in names:
        if name not in weights:
            remedy = f"choose another --to: {target} has no encoders without it"
            raise UserError.about("tensor", name, f"present for {target}; this encoder has none", remedy)


def _join(weights: Weights, parts: tuple[str, ...], joined: str) -> Weights:
    """Join the parts of each block; parts that are missing or of unequal shape stay as they are."""
    from torch import cat

    whole: Weights = {}
    taken: set[str] = set()
    for name in weights:
        target = translate(name, ((parts[0], joined),))
        if target is None:
            continue
        pieces = [translate(name, ((parts[0], part),)) or "" for part in parts]
        if len({weights[piece].shape if piece in weights else None for piece in pieces}) == 1:
            whole[target] = cat([weights[piece] for piece in pieces])
            taken.update(pieces)
    return {**{name: tensor for name, tensor in weights.items() if name not in taken}, **whole}


def _split(weights: Weights, parts: tuple[str, ...], joined: str, target: str) -> Weights:
    split: Weights = {}
    for name, tensor in weights.items():
        pieces = [piece for part in parts if (piece := translate(name, ((joined, part),)))]
        if not pieces:
            split[name] = tensor
            continue
        if len(tensor) % len(parts):
            rule = f"{len(parts)} equal parts: query, key, value"
            raise UserError.about(name, list(tensor.shape), rule, f"correct the checkpoint; it cannot become {target}")
        split |= {piece: rows.clone() for piece, rows in zip(pieces, tensor.chunk(len(parts)), strict=True)}
    return split
