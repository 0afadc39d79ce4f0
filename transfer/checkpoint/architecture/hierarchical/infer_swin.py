"""The architecture of a Swin or SwinV2 encoder, read from its tensors in timm's layout.

The parameters show widths, heads and ratios. Windows and image size show in tables, and in buffers that not every
checkpoint holds: whatever is assumed is noted.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from pydantic import JsonValue

from benchmarks.encoders import Architecture, plain_window, windows_as_json
from benchmarks.errors import UserError
from benchmarks.families.windows.stages import Sizes, clipped, window_argument
from transfer.checkpoint.architecture.agreed import HIDDEN, SWINV2_HEADS, WIDTH, agreed
from transfer.checkpoint.architecture.hierarchical.swin_models import SWIN, SWINV2, Known
from transfer.checkpoint.architecture.hierarchical.swin_tensors import TABLE, shape_of, stage_shape
from transfer.checkpoint.architecture.hierarchical.swin_windows import Windows, known_windows, read_windows
from transfer.checkpoint.architecture.inferred import Inferred, without_norm
from transfer.checkpoint.layouts.layout import Weights


@dataclass(frozen=True)
class _Widths:
    """The sizes that the parameters show."""

    embed_dim: int
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    patch_size_px: int
    in_chans: int
    mlp_ratio: float
    qkv_bias: bool


def infer_swin(weights: Weights) -> Inferred:
    """Read the architecture of Swin or SwinV2 from `weights` in timm's layout, buffers included where there are any.

    Raises UserError, naming the tensor, where one that shows a width is missing or has an impossible shape.
    """
    version2 = any(name.endswith("attn.logit_scale") for name in weights)
    widths = _read_widths(weights, version2)
    known = [k for k in (SWINV2 if version2 else SWIN) if _same_widths(k, widths)]
    usual = known[0] if known else (SWINV2 if version2 else SWIN)[0]
    windows = read_windows(weights, _stage_px(widths.patch_size_px, len(widths.depths)), usual, version2)
    best = min(known, key=lambda candidate: _distance(candidate, windows), default=None)
    arguments = _arguments(widths, windows, best)
    normed = any(name.startswith(("norm.", "head.")) for name in weights)
    base = best or (SWINV2 if version2 else SWIN)[0]
    return Inferred(
        architecture=Architecture(name=base.name, arguments=arguments),
        image_size_px=windows.image_size_px if windows.image_size_known else None,
        patch_size_px=widths.patch_size_px,
        window_size=plain_window(windows.per_stage[0]),
        remarks=windows.remarks if normed else (*windows.remarks, without_norm("Donut and dense libraries")),
        assumed=windows.assumed,
        norms_as_built={} if normed else {"norm": widths.embed_dim << (len(widths.depths) - 1)},
    )


def _read_widths(weights: Weights, version2: bool) -> _Widths:
    kernel = shape_of(weights, "patch_embed.proj.weight", dimensions=4)
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
    return agreed(weights, stage, SWINV2_HEADS) if version2 else stage_shape(weights, stage, TABLE, dimensions=2)[1]


def _ratio(hidden: int, width: int) -> float:
    """Return the ratio from which timm gets `hidden` by int(width * ratio)."""
    ratio = hidden / width
    return ratio if int(width * ratio) == hidden else math.nextafter(ratio, math.inf)


def _same_widths(known: Known, widths: _Widths) -> bool:
    ours = (widths.embed_dim, widths.depths, widths.heads, widths.patch_size_px)
    return ours == (known.embed_dim, known.depths, known.heads, 4)


def _stage_px(patch_size_px: int, stages: int) -> list[int]:
    """Return the side of a token of each stage, in pixels."""
    return [patch_size_px * 2**stage for stage in range(stages)]


def _distance(known: Known, windows: Windows) -> tuple[bool, ...]:
    """Return how far a known model is from `windows`, to order models of the same widths.

    The same windows count most, then those of pretraining, then the window of the first stage before it is clipped,
    then the image size.
    """
    return (
        _present(known) != windows.per_stage,
        _moved(known) != windows.pretrained,
        known_windows(known, len(known.depths))[0] != windows.per_stage[0],
        known.image_size_px != windows.image_size_px,
    )


def _present(known: Known) -> Sizes:
    return clipped(known_windows(known, len(known.depths)), known.image_size_px, _stage_px(4, len(known.depths)))


def _moved(known: Known) -> Sizes:
    """Return the windows of pretraining, (0, 0) where they are the present ones."""
    pairs = zip(known.pretrained_windows, _present(known), strict=True)
    return tuple((0, 0) if (p, p) == window else (p, p) for p, window in pairs)


def _arguments(widths: _Widths, windows: Windows, known: Known | None) -> dict[str, JsonValue]:
    """Return timm's arguments that differ from the known model's; all that were read where no model is known."""
    stage_px = _stage_px(widths.patch_size_px, len(widths.depths))
    stated: dict[str, JsonValue] = {
        "patch_size": widths.patch_size_px,
        "embed_dim": widths.embed_dim,
        "depths": list(widths.depths),
        "num_heads": list(widths.heads),
        "img_size": windows.image_size_px,
        "window_size": window_argument(windows.per_stage, windows.image_size_px, stage_px),
    }
    usual: dict[str, JsonValue] = {"in_chans": 3, "mlp_ratio": 4.0, "qkv_bias": True}
    moved: Sizes = ((0, 0),) * len(widths.depths)
    if known is not None:
        stated = {key: stated[key] for key in ("img_size", "window_size")}
        if clipped(known_windows(known, len(known.depths)), windows.image_size_px, stage_px) == windows.per_stage:
            del stated["window_size"]
        usual["img_size"], moved = known.image_size_px, _moved(known)
    stated |= {"in_chans": widths.in_chans, "mlp_ratio": widths.mlp_ratio, "qkv_bias": widths.qkv_bias}
    if windows.pretrained != moved:
        stated["pretrained_window_sizes"] = windows_as_json(windows.pretrained)
    return {key: value for key, value in stated.items() if usual.get(key) != value}


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
