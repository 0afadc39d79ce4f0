"""The windows of a Swin or SwinV2 encoder, stage by stage, and its image size, read from its tables and buffers.

Swin's windows show in its tables, but the number of rows does not distinguish a rectangular window's height from its
width; the index buffer of microsoft's and OpenMMLab's checkpoints does. SwinV2's windows show in buffers alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import permutations

from torch import Tensor

from benchmarks.encoders import plain_window
from benchmarks.errors import UserError
from benchmarks.families.windows.position_tables import Size
from benchmarks.families.windows.stages import Sizes, clipped
from transfer.checkpoint.architecture.hierarchical.swin_models import Known
from transfer.checkpoint.architecture.hierarchical.swin_tensors import TABLE, stage_shape, tensors
from transfer.checkpoint.layouts.layout import Weights
from transfer.checkpoint.refusal import ANOTHER_MODEL

_INDEX = "attn.relative_position_index"
_COORDINATES = "attn.relative_coords_table"
_MASK = "attn_mask"


@dataclass(frozen=True)
class Windows:
    """What tables and buffers show, or what is assumed in their place."""

    per_stage: Sizes
    """The windows as they are used, no larger than the feature map of their stage."""
    pretrained: Sizes
    """The windows of pretraining; (0, 0) where a stage was pretrained with its present window."""
    image_size_px: int
    image_size_known: bool
    remarks: tuple[str, ...]
    assumed: dict[str, str]
    """A sentence for each thing that no tensor shows, as in `Inferred`."""


def read_windows(weights: Weights, stage_px: list[int], base: Known, version2: bool) -> Windows:
    """Read windows and image size; where nothing shows them, those of `base` are assumed.

    `stage_px` is the side of a token of each stage in pixels. Raises UserError, naming the table, where its rows fit no
    square window and no buffer shows which rectangle it is.
    """
    remarks: list[str] = []
    assumed: dict[str, str] = {}
    stages = range(len(stage_px))
    image = next((size for i in stages if (size := _masked_image(weights, i, stage_px[i])) is not None), None)
    windows = _buffered(weights, stage_px, image) if version2 else tuple(_table_window(weights, i) for i in stages)
    if windows is None:
        size = image or base.image_size_px
        windows = clipped(known_windows(base, len(stage_px)), size, stage_px)
        shown = plain_window(windows[0])
        assumed["window_size"] = (
            f"no tensor shows SwinV2's windows and image size: window_size {shown}, img_size {size} assumed"
        )
    else:
        image = image or _clipped_image(windows, stage_px)
        size = image or max(max(window) * px for window, px in zip(windows, stage_px, strict=True))
        if image is None:
            assumed["img_size"] = (
                f"no tensor shows the image size: {size} px assumed, where no stage is smaller than its window"
            )
        if len(set(windows)) > 1:
            remarks.append(f"windows differ between stages: {', '.join(str(plain_window(each)) for each in windows)}")
    pretrained = [_pretrained_window(weights, i) for i in stages]
    if version2 and None in pretrained:
        assumed["pretrained_window_sizes"] = (
            "no tensor shows the windows that SwinV2 was pretrained with: pretrained_window_sizes 0 assumed"
        )
    moved = tuple((0, 0) if p in (None, w) else p for p, w in zip(pretrained, windows, strict=True))
    return Windows(windows, moved, size, image is not None, tuple(remarks), assumed)


def known_windows(known: Known, stages: int) -> Sizes:
    """Return a registered model's windows, before they are clipped."""
    each = (known.window,) * stages if isinstance(known.window, int) else known.window
    return tuple((window, window) for window in each)


def _table_window(weights: Weights, stage: int) -> Size:
    rows = stage_shape(weights, stage, TABLE, dimensions=2)[0]
    indexed = _indexed_window(next(tensors(weights, stage, _INDEX), None))
    if indexed and _rows(indexed) == rows:
        return indexed
    side = (math.isqrt(rows) + 1) // 2
    if _rows((side, side)) == rows:
        return side, side
    fitting = _rectangles(rows)
    if not fitting:
        remedy = ANOTHER_MODEL
        raise UserError.about(_named(stage), f"{rows} rows", "(2 * window - 1) ** 2 rows, for a square window", remedy)
    rule = f"(2 * window - 1) ** 2 rows, for a square window; {', '.join(fitting)} would fit, and no tensor shows which"
    remedy = "add --architecture FILE.yaml that says window_size: [rows, columns], or put its FILE.json beside it"
    raise UserError.about(_named(stage), f"{rows} rows", rule, remedy)


def _rectangles(rows: int) -> list[str]:
    """Return the windows whose tables have so many rows, as text, those nearest to a square first; at most six."""
    if rows % 2 == 0:
        return []
    short = [side for side in range(math.isqrt(rows), 2, -1) if rows % side == 0][:3]
    return [f"{(a + 1) // 2}x{(b + 1) // 2}" for side in short for a, b in permutations((side, rows // side))]


def _named(stage: int) -> str:
    return f"layers.{stage}.blocks.0.{TABLE}"


def _rows(window: Size) -> int:
    return (2 * window[0] - 1) * (2 * window[1] - 1)


def _indexed_window(index: Tensor | None) -> Size | None:
    """Return the window whose index of token pairs [N, N] this is, None where there is no index.

    Within a row of the window the first token's entries fall by one; at the next row they jump by 2 * width - 1.
    """
    if index is None:
        return None
    area = math.isqrt(index.numel())
    if index.is_meta:  # only its area is known: that of a square window, or of none
        side = math.isqrt(area)
        return (side, side) if side**2 == area else None
    first = index.reshape(-1)[:area].tolist()
    width = next((j for j, entry in enumerate(first) if first[0] - entry != j), area)
    return (area // width, width) if width and area % width == 0 else None


def _buffered(weights: Weights, stage_px: list[int], image_size_px: int | None) -> Sizes | None:
    """Return the windows of all stages of SwinV2, None where not every stage's can be known."""
    found = [_buffered_window(weights, i) for i in range(len(stage_px))]
    if image_size_px is not None and found[0] is not None:  # a stage without shift has no mask
        others = clipped((found[0],) * len(stage_px), image_size_px, stage_px)
        found = [window or other for window, other in zip(found, others, strict=True)]
    known = tuple(window for window in found if window is not None)
    return known if len(known) == len(found) else None


def _buffered_window(weights: Weights, stage: int) -> Size | None:
    """Return the window that a stage's buffers show, None without buffers."""
    if (table := next(tensors(weights, stage, _COORDINATES), None)) is not None and table.ndim == 4:
        return (table.shape[1] + 1) // 2, (table.shape[2] + 1) // 2  # [1, 2 * rows - 1, 2 * columns - 1, 2]
    if (window := _indexed_window(next(tensors(weights, stage, _INDEX), None))) is not None:
        return window
    if (mask := next(tensors(weights, stage, _MASK), None)) is not None and mask.ndim == 3:
        side = math.isqrt(mask.shape[-1])  # [windows, tokens of a window, tokens of a window]
        return (side, side) if side**2 == mask.shape[-1] else None
    return None


def _pretrained_window(weights: Weights, stage: int) -> Size | None:
    """Return the window that SwinV2's coordinates are scaled by, None where they are not in the checkpoint."""
    table = next(tensors(weights, stage, _COORDINATES), None)
    if table is None or table.ndim != 4 or table.is_meta:
        return None
    return _scaled_by(table[..., 0], table.shape[1]), _scaled_by(table[..., 1], table.shape[2])


def _scaled_by(coordinates: Tensor, offsets: int) -> int:
    """Return the side of a window that the coordinates along one axis are scaled by.

    The largest coordinate is log2(8 (window - 1) / (pretrained window - 1) + 1) / log2(8); source: SwinV2
    (arXiv:2111.09883), 3.3, and microsoft's code.
    """
    window, largest = (offsets + 1) // 2, float(coordinates.max())
    return window if largest <= 0 else round(8 * (window - 1) / (2 ** (3 * largest) - 1)) + 1


def _masked_image(weights: Weights, stage: int, px: int) -> int | None:
    """Return the image size from the windows that a stage's mask covers.

    None without a mask (no block of the stage shifts), and for images that are not square.
    """
    mask = next(tensors(weights, stage, _MASK), None)
    if mask is None or mask.ndim != 3:
        return None
    tokens = mask.shape[0] * mask.shape[-1]
    side = math.isqrt(tokens)
    return side * px if side**2 == tokens else None


def _clipped_image(windows: Sizes, stage_px: list[int]) -> int | None:
    """Return the image size where the windows of the last stages are clipped to their feature maps, else None."""
    sizes = {
        side * px
        for window, px in zip(windows, stage_px, strict=True)
        for side, first in zip(window, windows[0], strict=True)
        if side < first
    }
    image = sizes.pop() if len(sizes) == 1 else None
    return image if image and all(image // px >= max(w) for w, px in zip(windows, stage_px, strict=True)) else None
