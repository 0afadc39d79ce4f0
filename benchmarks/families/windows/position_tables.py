"""Relative position bias tables between windows, by named modes.

A table of a window (h, w) has one row for each offset between two of its tokens, (2h - 1) x (2w - 1) of them, and one
column per head; BEiT adds three rows for the class token. Every mode is linear and works along each axis on its own,
so a resize is one matrix per axis, which also lets gradients through.

SwinV2 has no table: an MLP computes its bias from log-spaced offsets, so another window needs no change of weights.
There the architecture's `pretrained_window_sizes` name the windows that offsets are measured in.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

TableMode = Literal["geometric-cubic", "bicubic", "linear"]
"""geometric-cubic: SimMIM, BEiT and SwinV2's fine-tuning. bicubic: Swin and Video-Swin. linear: transformers' BEiT."""

Size = tuple[int, int]
"""Height and width, in tokens."""


def resize_table(table: Tensor, from_window: Size, to_window: Size, mode: TableMode) -> Tensor:
    """Resize a table [(2h - 1)(2w - 1) + extra, heads] to another window; extra rows (class token) stay as they are.

    Computed in float64 and returned in the table's own dtype; an axis that keeps its length is not touched.
    """
    (height, width), to = _offsets(from_window), _offsets(to_window)
    rows, columns = (
        torch.tensor(axis_matrix(*lengths, mode), device=table.device)
        for lengths in zip((height, width), to, strict=True)
    )
    body, extra = table[: height * width], table[height * width :]
    grid = body.double().reshape(height, width, -1)
    resized = torch.einsum("ih,jw,hwn->ijn", rows, columns, grid).flatten(0, 1)
    return torch.cat([resized.to(table.dtype), extra])


def _offsets(window: Size) -> Size:
    """Return how many offsets there are between the tokens of a window, along each axis."""
    return 2 * window[0] - 1, 2 * window[1] - 1


@functools.cache
def axis_matrix(source: int, target: int, mode: TableMode) -> NDArray[np.float64]:
    """Return the matrix [target, source] that resizes one axis of a table; both lengths are odd."""
    return np.eye(source) if source == target else _AXIS[mode](source, target)


def _by_torch(mode: str, source: int, target: int) -> NDArray[np.float64]:
    """Resize unit vectors as the official code resizes tables: half-pixel centres, no antialiasing."""
    units = torch.eye(source, dtype=torch.float64, device="cpu")[None, None]
    matrix: NDArray[np.float64] = interpolate(units, (target, source), mode=mode, align_corners=False)[0, 0].numpy()
    return matrix


def _geometric_cubic(source: int, target: int) -> NDArray[np.float64]:
    """Place the source on a geometric grid that spans the target's offsets; interpolate by a cubic spline.

    The k-th offset from the centre lies at 1 + q + ... + q^(k - 1), so that small offsets, where the bias is steep,
    keep their place. The spline has no knot at the second and the last but one point; beyond the grid it is constant.
    Source: microsoft/SimMIM `utils.py` (after BEiT), whose SciPy `interp2d` on a grid is this spline in both axes.
    """
    from scipy.interpolate import make_interp_spline  # every start of a training would wait for it

    steps = _ratio(source // 2, target // 2) ** np.arange(source // 2)
    distances = np.cumsum(steps)
    grid = np.concatenate([-distances[::-1], [0.0], distances])
    wanted = np.arange(target) - target // 2
    if source == 1:
        return np.ones((target, 1))
    spline = make_interp_spline(grid, np.eye(source), k=min(3, source - 1))
    matrix: NDArray[np.float64] = spline(np.clip(wanted, grid[0], grid[-1]))
    return matrix


def _ratio(terms: int, reach: int) -> float:
    """Return q in [1.01, 1.5] with 1 + q + ... + q^(terms - 1) = reach, to the official code's 1e-6."""
    low, high = 1.01, 1.5
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (low, middle) if np.sum(middle ** np.arange(terms)) > reach else (middle, high)
    return middle


_AXIS: dict[TableMode, Callable[[int, int], NDArray[np.float64]]] = {
    "geometric-cubic": _geometric_cubic,
    "bicubic": functools.partial(_by_torch, "bicubic"),
    "linear": functools.partial(_by_torch, "bilinear"),
}
