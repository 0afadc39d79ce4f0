"""The architecture of a ConvNeXt or ConvNeXtV2, read from its tensors in timm's layout."""

from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise

from pydantic import JsonValue

from benchmarks.encoders import Architecture
from benchmarks.errors import UserError
from transfer.checkpoint.architecture.inferred import Inferred, without_norm
from transfer.checkpoint.architecture.majority import Sizes, depths, sizes_of, usual
from transfer.checkpoint.layouts.layout import Weights

# Depths and the width of the first stage; every further stage is twice as wide.
_V1: dict[tuple[tuple[int, ...], int], str] = {
    ((3, 3, 9, 3), 96): "convnext_tiny",
    ((3, 3, 27, 3), 96): "convnext_small",
    ((3, 3, 27, 3), 128): "convnext_base",
    ((3, 3, 27, 3), 192): "convnext_large",
    ((3, 3, 27, 3), 256): "convnext_xlarge",
    ((3, 4, 30, 3), 384): "convnext_xxlarge",
    ((2, 2, 6, 2), 40): "convnext_atto",
    ((2, 2, 6, 2), 48): "convnext_femto",
    ((2, 2, 6, 2), 64): "convnext_pico",
    ((2, 2, 8, 2), 80): "convnext_nano",
}
_V2: dict[tuple[tuple[int, ...], int], str] = {
    ((2, 2, 6, 2), 40): "convnextv2_atto",
    ((2, 2, 6, 2), 48): "convnextv2_femto",
    ((2, 2, 6, 2), 64): "convnextv2_pico",
    ((2, 2, 8, 2), 80): "convnextv2_nano",
    ((3, 3, 9, 3), 96): "convnextv2_tiny",
    ((3, 3, 27, 3), 96): "convnextv2_small",
    ((3, 3, 27, 3), 128): "convnextv2_base",
    ((3, 3, 27, 3), 192): "convnextv2_large",
    ((3, 3, 27, 3), 352): "convnextv2_huge",
}
_CONVOLVED = ("atto", "femto", "pico", "nano")
"""Models whose MLPs are convolutions in timm, of four dimensions; the official ones have matrices."""
EPS = "GELU and a LayerNorm eps of {} are assumed, as in timm: the tensors show neither"
OTHER = "add --architecture NAME for another of timm's models"


def infer_convnext(weights: Weights) -> Inferred:
    """Return the ConvNeXt that `weights` fill. Raises UserError, naming the tensor, for one that timm cannot build."""
    sizes = sizes_of(weights)
    counts = depths(sizes, r"stages\.(\d+)\.blocks\.(\d+)\.", "stages.{}.blocks")
    if len(counts) != 4:
        raise UserError.about("stages", len(counts), "4 stages", OTHER)
    dims = tuple(_width(sizes, stage) for stage in range(len(counts)))
    second = any(".mlp.grn." in name for name in sizes)
    stem = usual(sizes, r"stem\.0\.weight", 4, "stem.0.weight")
    if stem[2] != stem[3]:
        raise UserError.about("stem.0.weight", list(stem), "a square patch", OTHER)
    _require_usual_parts(sizes)
    name, arguments = _named(counts, dims, second, scaled=any(name.endswith(".gamma") for name in sizes))
    own = {
        "in_chans": (stem[1], 3),
        "patch_size": (stem[2], 4),
        "kernel_sizes": (_kernel(sizes), 7),
        "conv_mlp": (_is_convolved(sizes), name.endswith(_CONVOLVED)),
        "head_norm_first": ("norm_pre.weight" in sizes, False),
    }
    arguments |= {argument: found for argument, (found, usually) in own.items() if found != usually}
    architecture = Architecture(name=name, arguments=arguments)
    normed = any(name.startswith(("head.norm.", "norm_pre.")) for name in sizes)
    return Inferred(
        architecture,
        image_size_px=None,
        patch_size_px=stem[2],
        window_size=None,
        remarks=() if normed else (without_norm("FCMAE and SparK"),),
        assumed={"norm_eps": EPS.format("1e-5" if name == "convnext_xxlarge" else "1e-6")},
        norms_as_built={} if normed else {"head.norm": dims[-1]},
    )


def _require_usual_parts(sizes: Sizes) -> None:
    """Raise UserError for a ConvNeXt of timm's with other parts, which its names say and tensors only hint at."""
    if len(sizes.get("stem.1.weight", ())) == 4:
        raise UserError.about("stem", "two convolutions", "one convolution and a norm", OTHER)
    if any(name.endswith(".norm.weight") for name in sizes) and not any(name.endswith(".norm.bias") for name in sizes):
        raise UserError.about("norms", "all without bias", "LayerNorms, which have one", OTHER)


def _named(
    counts: tuple[int, ...], dims: tuple[int, ...], second: bool, *, scaled: bool
) -> tuple[str, dict[str, JsonValue]]:
    """Return timm's name and arguments; `second` is the version with GRN, of which timm's alone have no layer scale."""
    doubled = all(wide == 2 * narrow for narrow, wide in pairwise(dims))
    own: dict[str, JsonValue] = {"ls_init_value": 1e-6} if second and scaled else {}
    known = (_V2 if second else _V1).get((counts, dims[0])) if second or scaled else None
    if known is not None and doubled:
        return known, own
    own |= {} if second or scaled else {"use_grn": False}
    name = "convnext_tiny" if scaled and not second else "convnextv2_tiny"
    return name, {"depths": list(counts), "dims": list(dims), **own}


def _width(sizes: Sizes, stage: int) -> int:
    evidence = re.compile(rf"stages\.{stage}\.blocks\.\d+\.(conv_dw\.(weight|bias)|norm\.(weight|bias)|mlp\.fc2\.bias)")
    found = Counter(shape[0] for name, shape in sizes.items() if shape and evidence.fullmatch(name))
    if not found:
        name = f"stages.{stage}.blocks.0.conv_dw.weight"
        raise UserError.about(name, "(missing)", "a tensor that shows the architecture", OTHER)
    return found.most_common(1)[0][0]


def _kernel(sizes: Sizes) -> int:
    shown = "stages.0.blocks.0.conv_dw.weight"
    return usual(sizes, r"stages\.\d+\.blocks\.\d+\.conv_dw\.weight", 4, shown)[3]


def _is_convolved(sizes: Sizes) -> bool:
    found = Counter(len(shape) for name, shape in sizes.items() if re.fullmatch(r".*\.mlp\.fc[12]\.weight", name))
    return bool(found) and found.most_common(1)[0][0] == 4
