"""Finding one kind of tensor in the stages of a Swin or SwinV2, in timm's layout."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from torch import Tensor

from benchmarks.errors import UserError
from transfer.checkpoint.layouts.layout import Weights

TABLE = "attn.relative_position_bias_table"


def tensors(weights: Weights, stage: int, suffix: str) -> Iterator[Tensor]:
    """Yield the tensors whose names end in `suffix` in the blocks of a stage: any will do, should one be missing."""
    pattern = re.compile(rf"layers\.{stage}\.blocks\.\d+\.{re.escape(suffix)}")
    return (tensor for name, tensor in weights.items() if pattern.fullmatch(name))


def stage_shape(weights: Weights, stage: int, suffix: str, dimensions: int) -> tuple[int, ...]:
    """Return the shape that most blocks of the stage agree on, so that one odd tensor does not decide.

    Raises UserError where there is no such tensor, or its shape has not so many `dimensions`.
    """
    shapes = Counter(tuple(tensor.shape) for tensor in tensors(weights, stage, suffix))
    shape = shapes.most_common(1)[0][0] if shapes else None
    return _checked(shape, f"layers.{stage}.blocks.0.{suffix}", dimensions)


def shape_of(weights: Weights, name: str, dimensions: int) -> tuple[int, ...]:
    """Return the shape of a tensor. Raises UserError where it is missing, or has not so many `dimensions`."""
    return _checked(tuple(weights[name].shape) if name in weights else None, name, dimensions)


def _checked(shape: tuple[int, ...] | None, name: str, dimensions: int) -> tuple[int, ...]:
    if shape is None:
        raise UserError.about(name, "(missing)", "a tensor that shows the architecture", "use a whole checkpoint")
    if len(shape) != dimensions or 0 in shape:
        rule = f"a tensor of {dimensions} dimensions, none of them empty"
        raise UserError.about(name, list(shape), rule, "use a whole checkpoint of Swin or SwinV2")
    return shape
