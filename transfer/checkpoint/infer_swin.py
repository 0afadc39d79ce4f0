"""The architecture of a Swin or SwinV2 encoder, read from its tensors in timm's layout.

Widths, heads and ratios stand in the parameters. Swin's windows stand in its tables; SwinV2's, the windows it was
pretrained with, and the image size stand in buffers that not every checkpoint holds: what is assumed is noted.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import JsonValue
from torch import Tensor

from benchmarks.encoders import Architecture
from benchmarks.errors import UserError
from transfer.checkpoint.agreed import HIDDEN, SWINV2_HEADS, WIDTH, agreed
from transfer.checkpoint.inferred import Inferred
from transfer.checkpoint.layout import Weights
from transfer.checkpoint.swin_models import SWIN, SWINV2, Known

_TABLE = "attn.relative_position_bias_table"
_INDEX = "attn.relative_position_index"
_COORDINATES = "attn.relative_coords_table"
_MASK = "attn_mask"


@dataclass(frozen=True)
class _Widths:
    """What the parameters say."""

    embed_dim: int
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    patch_size_px: int
    in_chans: int
    mlp_ratio: float
    qkv_bias: bool


@dataclass(frozen=True)
class _Windows:
    """What tables and buffers say, or what is assumed in their place."""

    per_stage: tuple[int, ...]
    """As they are: no larger than the feature map of their stage."""
    pretrained: tuple[int, ...]
    """Zeros where a stage was pretrained with its present window."""
    image_size_px: int
    image_size_known: bool
    assumed: bool
    notes: tuple[str, ...]


def infer_swin(weights: Weights) -> Inferred:
    """Read the architecture of Swin or SwinV2 from `weights` in timm's layout, buffers included where there are any.

    Raises UserError, naming the tensor, where one that tells a width is missing or has an impossible shape.
    """
    version2 = any(name.endswith("attn.logit_scale") for name in weights)
    widths = _read_widths(weights, version2)
    known = [k for k in (SWINV2 if version2 else SWIN) if _same_widths(k, widths)]
    windows = _read_windows(weights, widths, known[0] if known else (SWINV2 if version2 else SWIN)[0], version2)
    best = min(known, key=lambda candidate: _distance(candidate, windows), default=None)
    arguments = _arguments(widths, windows, best)
    base = best or (SWINV2 if version2 else SWIN)[0]
    return Inferred(
        architecture=Architecture(name=base.name, arguments=arguments),
        image_size_px=windows.image_size_px if windows.image_size_known else None,
        patch_size_px=widths.patch_size_px,
        window_size=windows.per_stage[0],
        notes=windows.notes,
        window_assumed=windows.assumed,
    )


def _read_widths(weights: Weights, version2: bool) -> _Widths:
    kernel = _shape(weights, "patch_embed.proj.weight", dimensions=4)
    if kernel[2] != kernel[3]:
        remedy = "an encoder with square patches"
        raise UserError.about("patch_embed.proj.weight", list(kernel), "a square kernel", remedy)
    depths = _depths(weights)
    width = agreed(weights, 0, WIDTH)
    bias = ".attn.q_bias" if version2 else ".attn.qkv.bias"
    return _Widths(
        embed_dim=width,
        depths=depths,
        heads=tuple(_heads(weights, stage, version2) for stage in range(len(depths))),
        patch_size_px=kernel[2],
        in_chans=kernel[1],
        mlp_ratio=_ratio(agreed(weights, 0, HIDDEN), width),
        qkv_bias=any(name.endswith(bias) for name in weights),
    )


def _heads(weights: Weights, stage: int, version2: bool) -> int:
    return agreed(weights, stage, SWINV2_HEADS) if version2 else _stage_shape(weights, stage, _TABLE, dimensions=2)[1]


def _ratio(hidden: int, width: int) -> float:
    """Return the ratio from which timm gets `hidden` by int(width * ratio)."""
    ratio = hidden / width
    return ratio if int(width * ratio) == hidden else math.nextafter(ratio, math.inf)


def _read_windows(weights: Weights, widths: _Widths, base: Known, version2: bool) -> _Windows:
    notes: list[str] = []
    stages = range(len(widths.depths))
    stage_px = [widths.patch_size_px * 2**i for i in stages]
    image = next((size for i in stages if (size := _masked_image(weights, i, stage_px[i])) is not None), None)
    told = _windows(weights, stage_px, image, version2)
    assumed = told is None
    if told is None:
        size = image or base.image_size_px
        told = _clipped(base.window, size, stage_px)
        notes.append(f"no tensor tells SwinV2's windows and image size: window_size {told[0]}, img_size {size} assumed")
    else:
        image = image or _clipped_image(told, stage_px)
        size = image or max(window * px for window, px in zip(told, stage_px, strict=True))
        if image is None:
            notes.append(
                f"no tensor tells the image size: {size} px assumed, where no stage is smaller than its window"
            )
        if len(set(told)) > 1:
            notes.append(f"windows differ between stages: {', '.join(map(str, told))}")
    pretrained = tuple(_pretrained_window(weights, i) for i in stages)
    if version2 and None in pretrained:
        notes.append("no tensor tells the windows SwinV2 was pretrained with: pretrained_window_sizes 0 assumed")
    moved = tuple(0 if p in (None, window) else p for p, window in zip(pretrained, told, strict=True))
    return _Windows(told, moved, size, image is not None, assumed, tuple(notes))


def _windows(
    weights: Weights, stage_px: list[int], image_size_px: int | None, version2: bool
) -> tuple[int, ...] | None:
    """Return the windows of all stages, None where no tensor of SwinV2 tells them."""
    if not version2:
        rows = [_stage_shape(weights, i, _TABLE, dimensions=2)[0] for i in range(len(stage_px))]
        return tuple((_table_side(count, stage) + 1) // 2 for stage, count in enumerate(rows))
    found = [_buffered_window(weights, i) for i in range(len(stage_px))]
    if image_size_px is not None and found[0] is not None:  # a stage without shift has no mask
        clipped = _clipped(found[0], image_size_px, stage_px)
        found = [window or other for window, other in zip(found, clipped, strict=True)]
    told = tuple(window for window in found if window is not None)
    return told if len(told) == len(found) else None


def _buffered_window(weights: Weights, stage: int) -> int | None:
    """Return the window that a stage's buffers tell, None without buffers."""
    if (table := next(_tensors(weights, stage, _COORDINATES), None)) is not None and table.ndim == 4:
        return (table.shape[1] + 1) // 2  # [1, 2 * window - 1, 2 * window - 1, 2]
    if (index := next(_tensors(weights, stage, _INDEX), None)) is not None:
        return math.isqrt(math.isqrt(index.numel()))  # window ** 4 pairs
    if (mask := next(_tensors(weights, stage, _MASK), None)) is not None and mask.ndim == 3:
        return math.isqrt(mask.shape[-1])  # [windows, window ** 2, window ** 2]
    return None


def _pretrained_window(weights: Weights, stage: int) -> int | None:
    """Return the window that SwinV2's coordinates are scaled by, None where they are not in the checkpoint.

    The largest coordinate is log2(8 (window - 1) / (pretrained window - 1) + 1) / log2(8); source: SwinV2
    (arXiv:2111.09883), 3.3, and microsoft's code.
    """
    table = next(_tensors(weights, stage, _COORDINATES), None)
    if table is None or table.ndim != 4 or table.device.type == "meta":
        return None
    window, largest = (table.shape[1] + 1) // 2, float(table.max())
    return window if largest <= 0 else round(8 * (window - 1) / (2 ** (3 * largest) - 1)) + 1


def _masked_image(weights: Weights, stage: int, px: int) -> int | None:
    """Return the image size from the windows that a stage's mask covers.

    None without a mask (no block of the stage shifts), and for images that are not square.
    """
    mask = next(_tensors(weights, stage, _MASK), None)
    if mask is None or mask.ndim != 3:
        return None
    side = math.isqrt(mask.shape[0])
    return side * math.isqrt(mask.shape[-1]) * px if side**2 == mask.shape[0] else None


def _clipped_image(windows: tuple[int, ...], stage_px: list[int]) -> int | None:
    """Return the image size where the windows of the last stages are clipped to their feature maps, else None."""
    sizes = {window * px for window, px in zip(windows, stage_px, strict=True) if window < windows[0]}
    image = sizes.pop() if len(sizes) == 1 else None
    return image if image and all(image // px >= w for w, px in zip(windows, stage_px, strict=True)) else None


def _clipped(window: int | tuple[int, ...], image_size_px: int, stage_px: list[int]) -> tuple[int, ...]:
    windows = (window,) * len(stage_px) if isinstance(window, int) else window
    return tuple(min(w, -(-image_size_px // px)) for w, px in zip(windows, stage_px, strict=True))


def _same_widths(known: Known, widths: _Widths) -> bool:
    ours = (widths.embed_dim, widths.depths, widths.heads, widths.patch_size_px)
    return ours == (known.embed_dim, known.depths, known.heads, 4)


def _distance(known: Known, windows: _Windows) -> tuple[bool, ...]:
    """Order models of the same widths: the same windows count most, then those of pretraining, then the image size."""
    stage_px = [4 * 2**i for i in range(len(windows.per_stage))]
    return (
        _clipped(known.window, known.image_size_px, stage_px) != windows.per_stage,
        _moved(known) != windows.pretrained,
        known.window != windows.per_stage[0],
        known.image_size_px != windows.image_size_px,
    )


def _moved(known: Known) -> tuple[int, ...]:
    """Return the windows of pretraining, 0 where they are the present ones."""
    present = _clipped(known.window, known.image_size_px, [4 * 2**i for i in range(len(known.depths))])
    return tuple(0 if p == w else p for p, w in zip(known.pretrained_windows, present, strict=True))


def _arguments(widths: _Widths, windows: _Windows, known: Known | None) -> dict[str, JsonValue]:
    """Return what differs from the known model; all that was read where none is known."""
    stated: dict[str, JsonValue] = {
        "patch_size": widths.patch_size_px,
        "embed_dim": widths.embed_dim,
        "depths": list(widths.depths),
        "num_heads": list(widths.heads),
        "img_size": windows.image_size_px,
        "window_size": _window_argument(windows, widths.patch_size_px),
    }
    usual: dict[str, JsonValue] = {"in_chans": 3, "mlp_ratio": 4.0, "qkv_bias": True}
    moved = (0,) * len(widths.depths)
    if known is not None:
        stated = {key: stated[key] for key in ("img_size", "window_size")}
        stage_px = [4 * 2**i for i in range(len(known.depths))]
        if _clipped(known.window, windows.image_size_px, stage_px) == windows.per_stage:
            del stated["window_size"]
        usual["img_size"], moved = known.image_size_px, _moved(known)
    stated |= {"in_chans": widths.in_chans, "mlp_ratio": widths.mlp_ratio, "qkv_bias": widths.qkv_bias}
    if windows.pretrained != moved:
        stated["pretrained_window_sizes"] = list(windows.pretrained)
    return {key: value for key, value in stated.items() if usual.get(key) != value}


def _window_argument(windows: _Windows, patch_size_px: int) -> JsonValue:
    """Return one window where timm's clipping to the feature maps gives all the others, else one for each stage."""
    stage_px = [patch_size_px * 2**i for i in range(len(windows.per_stage))]
    first = windows.per_stage[0]
    same = _clipped(first, windows.image_size_px, stage_px) == windows.per_stage
    return first if same else list(windows.per_stage)


def _depths(weights: Weights) -> tuple[int, ...]:
    blocks: dict[int, int] = {}
    for name in weights:
        if match := re.match(r"layers\.(\d+)\.blocks\.(\d+)\.", name):
            stage, block = int(match[1]), int(match[2])
            blocks[stage] = max(blocks.get(stage, 0), block + 1)
    missing = [stage for stage in range(max(blocks, default=0) + 1) if stage not in blocks]
    if missing:
        rule = "blocks in every stage"
        raise UserError.about(f"layers.{missing[0]}", "(missing)", rule, "use a whole checkpoint of Swin or SwinV2")
    return tuple(blocks[stage] for stage in sorted(blocks))


def _tensors(weights: Weights, stage: int, suffix: str) -> Iterator[Tensor]:
    """Yield the tensors of this name in the blocks of a stage: any one tells, should another be missing."""
    pattern = re.compile(rf"layers\.{stage}\.blocks\.\d+\.{re.escape(suffix)}")
    return (tensor for name, tensor in weights.items() if pattern.fullmatch(name))


def _stage_shape(weights: Weights, stage: int, suffix: str, dimensions: int) -> tuple[int, ...]:
    """Return the shape most blocks of the stage agree on, so that one odd tensor is told from the rest."""
    shapes = Counter(tuple(tensor.shape) for tensor in _tensors(weights, stage, suffix))
    shape = shapes.most_common(1)[0][0] if shapes else None
    return _checked(shape, f"layers.{stage}.blocks.0.{suffix}", dimensions)


def _shape(weights: Weights, name: str, dimensions: int) -> tuple[int, ...]:
    return _checked(tuple(weights[name].shape) if name in weights else None, name, dimensions)


def _checked(shape: tuple[int, ...] | None, name: str, dimensions: int) -> tuple[int, ...]:
    if shape is None:
        raise UserError.about(name, "(missing)", "a tensor that tells the architecture", "use a whole checkpoint")
    if len(shape) != dimensions or 0 in shape:
        rule = f"a tensor of {dimensions} dimensions, none of them empty"
        raise UserError.about(name, list(shape), rule, "use a whole checkpoint of Swin or SwinV2")
    return shape


def _table_side(rows: int, stage: int) -> int:
    side = math.isqrt(rows)
    if side**2 != rows or side % 2 == 0:
        rule = "(2 * window - 1) ** 2 rows, for a square window"
        remedy = "convert an encoder with square windows"
        raise UserError.about(f"layers.{stage}.blocks.0.{_TABLE}", f"{rows} rows", rule, remedy)
    return side
