"""Tensors of other shapes made to fit a model: position embeddings, tables of relative positions, patch kernels.

What no rule here can make fit is None. A model's family knows which of its tensors are of these kinds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from timm.layers import resample_patch_embed
from torch import Tensor
from torch.nn.functional import interpolate

from benchmarks.families.windows.position_tables import Size, TableMode, resize_table

TABLE = "relative_position_bias_table"
LARGEST_STRETCH = 1.25
"""A source that is no square must have the target's proportions up to this factor: more would be a guess."""


@dataclass(frozen=True)
class Change:
    """A tensor in its new shape, and by which mode it got there."""

    tensor: Tensor
    mode: str


def fit_table(table: Tensor, owner: Any, parameter: Tensor, mode: TableMode) -> Change | None:
    """Resize a table to the window of the module that owns it; `parameter` is the one to fill."""
    window: Size = owner.window_size
    extra = len(parameter) - (2 * window[0] - 1) * (2 * window[1] - 1)
    sides = _sides(len(table) - extra, window, lambda side: (side + 1) // 2 if side % 2 else None)
    return Change(resize_table(table, sides, window, mode), mode) if sides and table.ndim == 2 else None


def fit_positions(positions: Tensor, grid: Size, prefix: int) -> Change | None:
    """Resize position embeddings [1, prefix + N, D] to a grid; None where their own grid cannot be determined."""
    if positions.ndim != 3:
        return None
    sides = _sides(positions.shape[1] - prefix, grid, lambda side: side)
    return Change(resize_positions(positions, sides, grid, prefix), "bicubic") if sides else None


def resize_positions(positions: Tensor, from_grid: Size, to_grid: Size, prefix: int) -> Tensor:
    """Resize position embeddings [1, prefix + h * w, D] to another grid; the first `prefix` stay as they are.

    Plain bicubic with half-pixel centres, as in the official code of MAE, Swin, ViTDet and mmseg; timm antialiases.
    """
    if from_grid == to_grid:
        return positions
    kept, grid = positions[:, :prefix], positions[:, prefix:]
    grid = grid.float().reshape(1, *from_grid, -1).permute(0, 3, 1, 2)
    resized = interpolate(grid, to_grid, mode="bicubic", align_corners=False).flatten(2).transpose(1, 2)
    return torch.cat([kept, resized.to(positions.dtype)], dim=1)


def fit_kernel(kernel: Tensor, wanted: torch.Size) -> Change | None:
    """Adapt a patch embedding [D, channels, p, p] to the channels and the patch of another.

    One of tubelets [D, channels, t, p, p] is adapted frame by frame.
    """
    if kernel.ndim == len(wanted) == 5 and kernel.shape[2] == wanted[2]:
        adapted = [fit_kernel(frame, torch.Size([*wanted[:2], *wanted[3:]])) for frame in kernel.unbind(2)]
        frames = [each for each in adapted if each is not None]
        return Change(torch.stack([each.tensor for each in frames], dim=2), frames[0].mode)
    if kernel.ndim != 4 or len(wanted) != 4:
        return None  # a linear embedding does not say its channels and patch
    modes = []
    if kernel.shape[1] != wanted[1]:
        kernel = adapt_channels(kernel, wanted[1])
        modes.append("channels-summed" if wanted[1] == 1 else "channels-repeated")
    if kernel.shape[2:] != wanted[2:]:
        kernel = resample_patch_embed(kernel, list(wanted[2:]))
        modes.append("pseudo-inverse")  # of the bicubic resize, so that a resized patch is embedded alike: FlexiViT
    return Change(kernel, ", ".join(modes))


def adapt_channels(kernel: Tensor, channels: int) -> Tensor:
    """Return a kernel [D, C, p, p] for images of other channels: summed for one, else repeated and scaled.

    Either way an image with equal channels is embedded as before. timm's convention.
    """
    if channels == 1:
        return kernel.sum(dim=1, keepdim=True)
    have = kernel.shape[1]
    repeated = kernel.repeat(1, math.ceil(channels / have), 1, 1)[:, :channels]
    return repeated * (have / channels)


def _sides(count: int, target: Size, size_of: Callable[[int], int | None]) -> Size | None:
    """Return the height and width of a source with `count` entries: a square, or else of the target's proportions.

    `size_of` turns the length of an axis into tokens (None: no such length). Returns None where nothing fits.
    A table or a grid does not say its shape; nearly all are square.
    """
    stretches: dict[Size, float] = {}
    for rows in range(1, count + 1):
        height, width = size_of(rows), size_of(count // rows)
        if count % rows == 0 and height and width:
            if height == width:
                return height, width
            stretches[height, width] = abs(math.log(height / width * target[1] / target[0]))
    best = min(stretches, key=stretches.__getitem__, default=None)
    return best if best and stretches[best] <= math.log(LARGEST_STRETCH) else None
