"""The architecture of plain transformers that are neither ViT nor BEiT, read from their tensors in timm's layout.

A kind is what only differs in sizes: its marks are names of tensors, its sizes those of timm's models of that kind.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.encoders import Architecture
from benchmarks.errors import UserError
from transfer.checkpoint.architecture.huggingface_config import OWN_CODE, activation
from transfer.checkpoint.architecture.inferred import Inferred
from transfer.checkpoint.architecture.majority import INCOMPLETE, Sizes, sizes_of, usual
from transfer.checkpoint.architecture.plain import plain_known as known
from transfer.checkpoint.architecture.plain.vit_known import Arguments, Known, Shape
from transfer.checkpoint.layouts.layout import Layout, Weights
from transfer.checkpoint.refusal import ANOTHER_MODEL

GELU_OR_QUICK = (
    "stated: GELU, as most of open_clip's, or QuickGELU, as OpenAI's own, MetaCLIP's and DFN's; no tensor shows it, "
    "and each gives other features"
)

WITHOUT_NORM = (
    "no norm after the last block, which transformers leaves to VideoMAE's classifier: the encoder's begins as it is "
    "built, as 1 and 0"
)

RESIZED = (
    "rotary positions are assumed to count the {grid} x {grid} patches of pos_embed, as after a training at that size: "
    "no tensor shows whether they are those of a smaller image, resized"
)
AIM_HEAD = (
    "the attention pool (head.) is left out: probes and classifiers take the mean of the patches, as of timm's AIMv2"
)


def with_head_noted(inferred: Inferred, names: Iterable[str]) -> Inferred:
    """Return an AIMv2 with a note on the attention pool, where the file's own `names` have one; timm's has none."""
    pooled = any(re.fullmatch(r"head\.(cls_token|[kv]_proj\..+)", name) for name in names)
    return replace(inferred, remarks=(*inferred.remarks, AIM_HEAD)) if pooled else inferred


@dataclass(frozen=True)
class Kind:
    """One kind of plain transformer."""

    models: tuple[Known, ...]
    prefix: int = 1
    """How many of the position table's rows are not patches'."""


def infer_plain(layout: Layout, weights: Weights, config: Mapping[str, Any]) -> Inferred:
    """Return the transformer that `weights` fill; `config` is Hugging Face's, of the image tower, or empty.

    Raises UserError, naming the tensor, where the architecture cannot be inferred.
    """
    sizes = sizes_of(weights)
    kind = _kind(layout, sizes, config)
    of_clips = layout.family == "video"
    kernel = usual(sizes, r"patch_embed\.proj\.weight", 5 if of_clips else 4, "patch_embed.proj.weight")
    if kernel[-2] != kernel[-1]:
        rule = "a square patch (timm has models of no other)"
        raise UserError.about("patch_embed.proj.weight", list(kernel), rule, "use an encoder with square patches")
    shape, heads = _shape(sizes, kernel[-1], kind, config)
    arguments: Arguments = {"in_chans": kernel[1], **_own(layout, sizes, config)}
    size = _image_size(sizes, kernel[-1], kind)
    if size is not None:
        arguments["img_size"] = size
    architecture = _named(kind.models, shape, arguments)
    assumed: dict[str, str] = {"num_heads": heads} if heads else {}
    if layout.name == "perception-encoder":
        architecture = architecture.with_arguments(ref_feat_shape=None)  # its authors count patches, on any grid
    elif "img_size" in architecture.arguments and layout.family == "eva" and _any(sizes, r"norm_pre\..*"):
        grid = (size or 0) // kernel[2]  # PE's rotary positions are whole numbers on the grid that it was trained on
        architecture = architecture.with_arguments(ref_feat_shape=[grid, grid])
        assumed["positions"] = RESIZED.format(grid=grid)
    unnormed = of_clips and not _any(sizes, r"(fc_)?norm\..*")
    eps = config.get("layer_norm_eps", config.get("rms_norm_eps"))
    if not isinstance(eps, float):
        assumed["norm_eps"] = "the norms' eps is assumed to be timm's: no tensor shows it"
    return Inferred(
        architecture.model_copy(update={"norm_eps": _eps(layout, eps)}),
        size,
        kernel[-1],
        None,
        remarks=(WITHOUT_NORM,) if unnormed else (),
        norms_as_built={"fc_norm": shape.embed_dim} if unnormed else {},
        assumed=assumed,
    )


def _clip(sizes: Sizes, config: Mapping[str, Any]) -> Kind:
    if config:
        stated = config.get("hidden_act", "quick_gelu")
        if stated in ("gelu", "quick_gelu"):
            return Kind(known.CLIP_QUICKGELU if stated == "quick_gelu" else known.CLIP)
        rule = "gelu or quick_gelu, as CLIP's towers have"
        raise UserError.about("hidden_act in config.json", stated, rule, OWN_CODE)
    shape = _shape(sizes, 0, Kind(known.CLIP), config)[0]
    if (shape.embed_dim, shape.depth) in _ONLY_GELU:
        return Kind(known.CLIP)
    remedy = f"add --architecture {known.CLIP[0].name} or {known.QUICK}, or the like for its size and patch"
    raise UserError.about("activation", "(unknown)", GELU_OR_QUICK, remedy)


# Sizes, by width and depth, of which every published model has GELU: open_clip's giant, medium, xsmall, ...
_ONLY_GELU = {(1408, 40), (512, 12), (640, 12), (256, 10), (896, 12)}


def _eva(sizes: Sizes, config: Mapping[str, Any]) -> Kind:
    """Return the kind of timm's Eva: PE by its first norm, DINOv3 by its registers, EVA by its MLP."""
    gated = _any(sizes, r"blocks\.\d+\.mlp\.fc1_[gx]\..*")
    if _any(sizes, r"norm_pre\..*"):
        rows = sizes["pos_embed"][1] if len(sizes.get("pos_embed", ())) == 3 else 0
        token = int(math.isqrt(rows) ** 2 != rows or not rows)
        return Kind(_perception(sizes, token), prefix=token)
    if _is_dinov3(sizes):
        biased = _any(sizes, r"blocks\.\d+\.attn\.[qv]_bias")
        plain = known.DINOV3_BIASED if biased else known.DINOV3
        return Kind((known.DINOV3_GATED_BIASED if biased else known.DINOV3_GATED) if gated else plain)
    if gated:
        return Kind(known.EVA02_CLIP if _any(sizes, r"blocks\.\d+\.attn\.norm\..*") else known.EVA02)
    shape = _shape(sizes, 0, Kind(known.EVA01), config)[0]
    first = usual(sizes, r"blocks\.\d+\.mlp\.fc1\.weight", 2, "blocks.0.mlp.fc1.weight")[0]
    if first == 2 * shape.hidden:
        return Kind(known.EVA02_FUSED)
    if shape.embed_dim == known.EVA01_ENORMOUS[0].shape.embed_dim:
        return Kind(known.EVA01_ENORMOUS)
    return Kind(known.EVA01 if _any(sizes, r"fc_norm\..*") else known.EVA01_CLIP)


def _is_dinov3(sizes: Sizes) -> bool:
    return "pos_embed" not in sizes and _any(sizes, r"blocks\.\d+\.gamma_[12]")


def _perception(sizes: Sizes, token: int) -> tuple[Known, ...]:
    if _any(sizes, r"attn_pool\..*"):
        return known.PE_CORE if token else known.PE_CORE_GIGANTIC
    if _any(sizes, r"blocks\.\d+\.gamma_[12]"):
        return known.PE_LANG if token else known.PE_LANG_GIGANTIC
    return known.PE_SPATIAL


_SINGLE = {
    "siglip": Kind(known.SIGLIP, prefix=0),
    "aimv2": Kind(known.AIMV2, prefix=0),
    "distilled": Kind(known.DISTILLED, prefix=2),
}
"""Families of a single kind."""


def _kind(layout: Layout, sizes: Sizes, config: Mapping[str, Any]) -> Kind:
    if layout.family in _SINGLE:
        return _SINGLE[layout.family]
    if layout.family == "video":
        return Kind(known.VJEPA2 if layout.name.endswith("vjepa2") else known.VIDEOMAE)
    return _clip(sizes, config) if layout.family == "clip" else _eva(sizes, config)


def _any(sizes: Sizes, pattern: str) -> bool:
    return any(re.fullmatch(pattern, name) for name in sizes)


def _own(layout: Layout, sizes: Sizes, config: Mapping[str, Any]) -> Arguments:
    """Return what else tensors or configuration show of an encoder of this family."""
    if layout.family == "siglip" and layout.name.startswith("huggingface-"):
        headless: Arguments = {} if _any(sizes, r"attn_pool\..*") else {"global_pool": "avg", "fc_norm": False}
        return {"act_layer": activation(config, "gelu_pytorch_tanh"), **headless}  # towers of PaliGemma and others
    if layout.name == "huggingface-distilled-deit" and (act := activation(config, "gelu")) != "gelu":
        return {"act_layer": act}
    if layout.family == "eva" and _is_dinov3(sizes):
        return _dinov3(sizes, config)
    if layout.family == "video":
        return _of_clips(sizes, config)
    normed_before_pooling = layout.family == "eva" and "pos_embed" in sizes and _any(sizes, r"norm\..*")
    if normed_before_pooling and not _any(sizes, r"(fc_norm|norm_pre|blocks\.\d+\.attn\.norm)\..*"):
        return {"use_fc_norm": False}
    return {}


def _dinov3(sizes: Sizes, config: Mapping[str, Any]) -> Arguments:
    """Return the number of registers. Raises UserError where the configuration asks for what timm does not compute."""
    gated = _any(sizes, r"blocks\.\d+\.mlp\.fc1_[gx]\..*")
    computed: dict[str, object] = {"hidden_act": "silu" if gated else "gelu", "rope_theta": 100.0}
    for name, value in computed.items():
        if config.get(name, value) != value:
            rule = f"{value}, as every published DINOv3 of this kind has"
            raise UserError.about(f"{name} in config.json", config[name], rule, OWN_CODE)
    usually = config.get("num_register_tokens", 4)
    found = sizes["reg_token"][1] if len(sizes.get("reg_token", ())) == 3 else usually
    return {} if found == 4 else {"num_reg_tokens": found}


def _of_clips(sizes: Sizes, config: Mapping[str, Any]) -> Arguments:
    """Return what tensors show beside sizes. Raises UserError where the configuration says something else."""
    frames = usual(sizes, r"patch_embed\.proj\.weight", 5, "patch_embed.proj.weight")[2]
    shown = {
        "hidden_act": ("gelu", "every published encoder of this kind has"),
        "tubelet_size": (frames, "the weights have"),
    }
    for name, (value, why) in shown.items():
        if config.get(name, value) != value:
            raise UserError.about(f"{name} in config.json", config[name], f"{value}, as {why}", ANOTHER_MODEL)
    return {
        "tubelet_size": frames,
        "qkv_bias": _any(sizes, r"blocks\.\d+\.attn\.(qkv\.bias|[qv]_bias)"),
        "use_fc_norm": not _any(sizes, r"norm\..*"),
    }


def _eps(layout: Layout, found: object) -> float | None:
    usual_eps = 1e-5 if layout.family in ("clip", "aimv2") or "dinov3" in layout.name else 1e-6
    return found if isinstance(found, float) and found != usual_eps else None


def _shape(sizes: Sizes, patch: int, kind: Kind, config: Mapping[str, Any]) -> tuple[Shape, str]:
    """Return the sizes of the blocks, and a sentence where the number of heads is assumed."""
    width = usual(sizes, r"blocks\.\d+\.norm[12]\.weight", 1, "blocks.0.norm1.weight")[0]
    hidden = usual(sizes, r"blocks\.\d+\.mlp\.fc2\.weight", 2, "blocks.0.mlp.fc2.weight")[1]
    depth = 1 + max(int(found[1]) for name in sizes if (found := re.match(r"blocks\.(\d+)\.", name)))
    given = config.get("num_attention_heads")
    if isinstance(given, int):
        return Shape(width, depth, given, patch, hidden), ""
    for one in kind.models:
        if (one.shape.embed_dim, one.shape.hidden) == (width, hidden):
            heads = one.shape.num_heads
            return Shape(width, depth, heads, patch, hidden), f"{heads} heads, as {one.name} has: no tensor shows it"
    if width % 64:
        rule = "given for widths that no published encoder of this kind has: no tensor shows it"
        remedy = "put Hugging Face's config.json or mimbench's FILE.json beside it, or add --architecture FILE.yaml"
        raise UserError.about("heads", f"unknown for width {width}", rule, remedy)
    how = f"{width // 64} heads of 64, by convention for width {width}: no tensor shows it"
    return Shape(width, depth, width // 64, patch, hidden), how


def _image_size(sizes: Sizes, patch: int, kind: Kind) -> int | None:
    """Return the size that the position table covers, None where there is none, and any size fits."""
    if kind.models in _WITHOUT_TABLE:
        return None
    if "pos_embed" not in sizes:
        raise UserError.about("pos_embed", "(missing)", "a table of positions, which shows the image size", INCOMPLETE)
    table = sizes["pos_embed"]
    side = math.isqrt(max(table[1] - kind.prefix, 0)) if len(table) == 3 else 0
    if len(table) != 3 or side**2 + kind.prefix != table[1]:
        rule = f"[1, rows, width], rows for a square number of patches and {kind.prefix} other tokens"
        remedy = "encoders of images that are not square are not read; take the file that was meant"
        raise UserError.about("pos_embed", list(table), rule, remedy)
    return side * patch


_WITHOUT_TABLE = (
    *(known.DINOV3, known.DINOV3_BIASED, known.DINOV3_GATED, known.DINOV3_GATED_BIASED),
    *(known.VJEPA2, known.VIDEOMAE),
)
"""Models whose positions follow from the grid alone: rotations, or VideoMAE's sines."""


def _named(models: tuple[Known, ...], shape: Shape, arguments: Arguments) -> Architecture:
    """Return the model of this shape that needs the fewest arguments, else the first with all its sizes given."""

    def differing(one: Known) -> Arguments:
        return {name: value for name, value in arguments.items() if one.arguments.get(name) != value}

    if same := [one for one in models if one.shape == shape]:
        best = min(same, key=lambda one: len(differing(one)))
        return Architecture(name=best.name, arguments=differing(best))
    size: Arguments = {
        "embed_dim": shape.embed_dim,
        "depth": shape.depth,
        "num_heads": shape.num_heads,
        "patch_size": shape.patch_size,
        "mlp_ratio": _ratio(shape.hidden, shape.embed_dim),
    }
    return Architecture(name=models[0].name, arguments=size | differing(models[0]))


def _ratio(hidden: int, width: int) -> float:
    """Return a ratio from which `int(width * ratio)` gives `hidden` again."""
    ratio = hidden / width
    return ratio if int(width * ratio) == hidden else (hidden + 0.5) / width
