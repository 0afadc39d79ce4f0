"""The architecture of Hiera and of the image encoders of SAM and SAM 2, read from their tensors in timm's layout."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from itertools import groupby
from typing import Any

from pydantic import JsonValue

from benchmarks.encoders import Architecture
from benchmarks.errors import UserError
from transfer.checkpoint.architecture.inferred import Inferred, without_norm
from transfer.checkpoint.architecture.majority import INCOMPLETE, Sizes, sizes_of, usual
from transfer.checkpoint.layouts.layout import Weights

# Width and blocks of each stage; the heads of the first stage by its width, doubled from stage to stage.
_HIERA: dict[tuple[int, tuple[int, ...]], str] = {
    (96, (1, 2, 7, 2)): "hiera_tiny_224",
    (96, (1, 2, 11, 2)): "hiera_small_224",
    (96, (2, 3, 16, 3)): "hiera_base_224",
    (112, (2, 3, 16, 3)): "hiera_base_plus_224",
    (144, (2, 6, 36, 4)): "hiera_large_224",
    (256, (2, 6, 36, 4)): "hiera_huge_224",
}
_HEADS = {96: 1, 112: 2, 144: 2, 256: 4}
_SAM = {(768, 12): "samvit_base_patch16", (1024, 24): "samvit_large_patch16", (1280, 32): "samvit_huge_patch16"}
_SAM_HEADS = {768: 12, 1024: 16, 1280: 16}
_ANY_SAM: dict[str, JsonValue] = {"in_chans": 3, "patch_size": 16, "mlp_ratio": 4.0, "neck_chans": 256}
_SAM2: dict[tuple[int, tuple[int, ...]], str] = {
    (96, (1, 2, 7, 2)): "sam2_hiera_tiny",
    (96, (1, 2, 11, 2)): "sam2_hiera_small",
    (112, (2, 3, 16, 3)): "sam2_hiera_base_plus",
    (144, (2, 6, 36, 4)): "sam2_hiera_large",
}
_STATE_HEADS = "put Hugging Face's config.json beside it, or add --architecture FILE.yaml"
NORMLESS = "no norm after the last block, as SAM 2's encoder has none: timm's begins as it is built, as 1 and 0"
PYRAMID = "a pooling of 2x2 at each stage and windows of 8x8 are assumed, as in every published Hiera"


def infer_hiera(weights: Weights, config: Mapping[str, Any]) -> Inferred:
    """Return the Hiera that `weights` fill. Raises UserError, naming the tensor, for one that timm cannot build."""
    sizes = sizes_of(weights)
    kernel = usual(sizes, r"patch_embed\.proj\.weight", 4, "patch_embed.proj.weight")
    widths = _widths(sizes)
    stages = tuple(len(list(blocks)) for _, blocks in groupby(widths))
    heads = config.get("num_heads", [_HEADS.get(widths[0])])[0]
    if heads is None:
        rule = f"given for a width of {widths[0]}, which no published Hiera has: no tensor shows it"
        raise UserError.about("heads", "(unknown)", rule, _STATE_HEADS)
    table = sizes.get("pos_embed", ())
    if len(table) != 3 or "pos_embed_win" in sizes or (side := math.isqrt(table[1])) ** 2 != table[1]:
        rule = "[1, rows, width], rows for a square number of patches, of which the image size follows"
        raise UserError.about("pos_embed", list(table) or "(missing)", rule, INCOMPLETE)
    known = _HIERA.get((widths[0], stages))
    arguments: dict[str, JsonValue] = {} if known else {"embed_dim": widths[0], "stages": list(stages)}
    own: dict[str, tuple[JsonValue, JsonValue]] = {
        "img_size": (side * 4, 224),
        "in_chans": (kernel[1], 3),
        "num_heads": (heads, _HEADS[widths[0]] if known else 1),
        "mlp_ratio": (_ratio(sizes), 4.0),
        "init_values": (1e-5 if any(name.endswith(".ls1.gamma") for name in sizes) else None, None),
    }
    arguments |= {name: found for name, (found, usually) in own.items() if found != usually}
    assumed = {"q_stride": PYRAMID} | ({} if "num_heads" in config else {"num_heads": f"{heads} heads, by its width"})
    normed = any(name.startswith("head.norm.") for name in sizes)
    return Inferred(
        Architecture(name=known or "hiera_tiny_224", arguments=arguments),
        image_size_px=side * 4,
        patch_size_px=4,
        window_size=None,
        remarks=() if normed else (without_norm("some"),),
        assumed=assumed,
        norms_as_built={} if normed else {"head.norm": widths[-1]},
    )


def _ratio(sizes: Sizes) -> float:
    """Return how much wider MLPs are inside, on which most of them agree."""
    matrix = re.compile(r"blocks\.\d+\.mlp\.fc1\.weight")
    found = Counter(shape[0] / shape[1] for n, shape in sizes.items() if matrix.fullmatch(n) and len(shape) == 2)
    return found.most_common(1)[0][0] if found else 4.0


def _widths(sizes: Sizes) -> list[int]:
    """Return the width of every block's output, on which most of its tensors agree."""
    evidence = re.compile(r"blocks\.(\d+)\.(norm2\.(?:weight|bias)|attn\.proj\.bias|mlp\.fc2\.bias)")
    found: dict[int, Counter[int]] = {}
    for name, shape in sizes.items():
        if (match := evidence.fullmatch(name)) and shape:
            found.setdefault(int(match[1]), Counter())[shape[0]] += 1
    if not found:
        raise UserError.about("blocks.0.norm2.weight", "(missing)", "a tensor of every block", INCOMPLETE)
    return [found[number].most_common(1)[0][0] for number in sorted(found)]


def infer_sam(weights: Weights) -> Inferred:
    """Return SAM's encoder that `weights` fill. Raises UserError, naming the tensor, where they leave it open.

    A block's table of rows has 2 * side - 1 of them, where side is that of its window, or of the whole image.
    """
    sizes = sizes_of(weights)
    kernel = usual(sizes, r"patch_embed\.proj\.weight", 4, "patch_embed.proj.weight")
    width = usual(sizes, r"blocks\.\d+\.norm[12]\.weight", 1, "blocks.0.norm1.weight")[0]
    table = usual(sizes, r"pos_embed", 4, "pos_embed")
    rows = {
        int(match[1]): shape
        for name, shape in sorted(sizes.items())
        if (match := re.fullmatch(r"blocks\.(\d+)\.attn\.rel_pos_[hw]", name)) and len(shape) == 2
    }
    if not rows:
        rule = "tables of relative positions, which show windows and heads"
        raise UserError.about("blocks.0.attn.rel_pos_h", "(missing)", rule, INCOMPLETE)
    depth = 1 + max(int(match[1]) for name in sizes if (match := re.match(r"blocks\.(\d+)\.", name)))
    whole = 2 * table[1] - 1
    everywhere = [number for number, shape in sorted(rows.items()) if shape[0] == whole]
    windows = Counter(shape[0] for shape in rows.values() if shape[0] != whole)
    head_width = Counter(shape[1] for shape in rows.values()).most_common(1)[0][0]
    found: dict[str, JsonValue] = {
        "embed_dim": width,
        "depth": depth,
        "num_heads": width // head_width,
        "patch_size": kernel[2],
        "in_chans": kernel[1],
        "mlp_ratio": usual(sizes, r"blocks\.\d+\.mlp\.fc2\.weight", 2, "blocks.0.mlp.fc2.weight")[1] / width,
        "global_attn_indexes": list(everywhere),
        "window_size": (windows.most_common(1)[0][0] + 1) // 2 if windows else 0,
        "img_size": table[1] * kernel[2],
        "neck_chans": _neck(sizes),
    }
    known = _SAM.get((width, depth))
    usually = _published_sam(width, depth) if known else _ANY_SAM
    arguments = {name: value for name, value in found.items() if usually.get(name) != value}
    architecture = Architecture(name=known or "samvit_base_patch16", arguments=arguments)
    return Inferred(architecture, table[1] * kernel[2], kernel[2], None)


def _published_sam(width: int, depth: int) -> dict[str, JsonValue]:
    """Return timm's arguments of the published SAM of this width and depth."""
    last = depth // 4
    return _ANY_SAM | {
        "embed_dim": width,
        "depth": depth,
        "num_heads": _SAM_HEADS[width],
        "window_size": 14,
        "img_size": 1024,
        "global_attn_indexes": [last - 1, 2 * last - 1, 3 * last - 1, 4 * last - 1],
    }


def infer_sam2(weights: Weights, config: Mapping[str, Any]) -> Inferred:
    """Return SAM 2's encoder that `weights` fill. Raises UserError, naming the tensor, where they leave it open."""
    sizes = sizes_of(weights)
    widths = _widths(sizes)
    stages = tuple(len(list(blocks)) for _, blocks in groupby(widths))
    kernel = usual(sizes, r"patch_embed\.proj\.weight", 4, "patch_embed.proj.weight")
    name = _SAM2.get((widths[0], stages))
    given = config.get("vision_config", config)
    given = given.get("backbone_config", given)
    arguments: dict[str, JsonValue] = {}
    if "window_size_per_stage" in given:
        arguments = {
            "embed_dim": widths[0],
            "stages": list(stages),
            "num_heads": given["num_attention_heads_per_stage"][0],
            "window_spec": given["window_size_per_stage"],
            "global_att_blocks": given["global_attention_blocks"],
            "global_pos_size": given["window_positional_embedding_background_size"],
        }
        name = "sam2_hiera_tiny"
    if name is None:
        rule = "those of a published SAM 2: what windows there are, and where none, no tensor shows"
        raise UserError.about("widths and blocks", f"{widths[0]} and {list(stages)}", rule, _STATE_HEADS)
    arguments |= {"in_chans": kernel[1]} if kernel[1] != 3 else {}
    architecture = Architecture(name=name, arguments=arguments)
    norm = () if "head.norm.weight" in sizes else (NORMLESS,)
    return Inferred(architecture, None, 4, None, norm, {}, {} if not norm else {"head.norm": widths[-1]})


def _neck(sizes: Sizes) -> int:
    """Return the channels after the last block, on which most tensors of the neck agree; 0 without one."""
    found = Counter(shape[0] for name, shape in sizes.items() if name.startswith("neck.") and shape)
    return found.most_common(1)[0][0] if found else 0
