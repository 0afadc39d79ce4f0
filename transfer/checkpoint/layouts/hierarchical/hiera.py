"""Hiera and the image encoders of SAM and SAM 2: transformers whose blocks see windows.

Sources: facebookresearch/hiera `hiera/hiera.py`, `hiera_mae.py`; facebookresearch/segment-anything
`modeling/image_encoder.py`; facebookresearch/sam2 `modeling/backbones/hieradet.py`; transformers `models/hiera`,
`models/sam`, `models/sam2`.
"""

from __future__ import annotations

import re

from transfer.checkpoint.layouts.layout import Layout, Shapes, Weights
from transfer.checkpoint.layouts.pairs import Names, anywhere

_BLOCK = "blocks.{}."
_STAGE = re.compile(r"encoder\.stages\.(\d+)\.layers\.(\d+)\.(.+)")
HIERA = Names(
    (("encoder_norm", "head.norm"), ("norm", "head.norm"), ("pos_embed", "pos_embed"), ("pos_embed_abs", "pos_embed")),
    beside=("head.projection.", "head.fc.", "decoder_", "multi_scale_fusion_heads.", "mask_token"),
)
HF_HIERA = Names(
    (
        ("embeddings.patch_embeddings.projection", "patch_embed.proj"),
        ("embeddings.position_embeddings", "pos_embed"),
        ("layers.{}.layernorm_before", _BLOCK + "norm1"),
        ("layers.{}.layernorm_after", _BLOCK + "norm2"),
        *((f"layers.{{}}.{part}", _BLOCK + part) for part in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2", "proj")),
        ("pooler.layernorm", "head.norm"),
        ("encoder_norm", "head.norm"),
    ),
    beside=("classifier.", "decoder.", "multiscale_fusion."),
)
SAM = Names(
    ((_BLOCK + "mlp.lin1", _BLOCK + "mlp.fc1"), (_BLOCK + "mlp.lin2", _BLOCK + "mlp.fc2")),
)
_LAYER = "layers.{}."
HF_SAM = Names(
    (
        ("patch_embed.projection", "patch_embed.proj"),
        (_LAYER + "layer_norm1", _BLOCK + "norm1"),
        (_LAYER + "layer_norm2", _BLOCK + "norm2"),
        (_LAYER + "mlp.lin1", _BLOCK + "mlp.fc1"),
        (_LAYER + "mlp.lin2", _BLOCK + "mlp.fc2"),
        *((f"{_LAYER}attn.{part}", f"{_BLOCK}attn.{part}") for part in ("qkv", "proj", "rel_pos_h", "rel_pos_w")),
        ("neck.conv1", "neck.0"),
        ("neck.layer_norm1", "neck.1"),
        ("neck.conv2", "neck.2"),
        ("neck.layer_norm2", "neck.3"),
    ),
)
SAM2 = Names(((_BLOCK + "mlp.layers.0", _BLOCK + "mlp.fc1"), (_BLOCK + "mlp.layers.1", _BLOCK + "mlp.fc2")))
HF_SAM2 = Names(
    (
        ("patch_embed.projection", "patch_embed.proj"),
        (_BLOCK + "layer_norm1", _BLOCK + "norm1"),
        (_BLOCK + "layer_norm2", _BLOCK + "norm2"),
        (_BLOCK + "mlp.proj_in", _BLOCK + "mlp.fc1"),
        (_BLOCK + "mlp.proj_out", _BLOCK + "mlp.fc2"),
        *((_BLOCK + part, _BLOCK + part) for part in ("attn.qkv", "attn.proj", "proj")),
    ),
)


def _depths(names: Weights) -> list[int]:
    """Return the number of layers of each stage, as transformers counts them."""
    depths: dict[int, int] = {}
    for name in names:
        if match := _STAGE.fullmatch(name):
            depths[int(match[1])] = max(depths.get(int(match[1]), 0), int(match[2]) + 1)
    return [depths.get(stage, 0) for stage in range(max(depths, default=-1) + 1)]


def _huggingface_to_timm(weights: Weights) -> Weights:
    """Number the layers through all stages, as timm does."""
    depths = _depths(weights)

    def through(match: re.Match[str]) -> str:
        return f"layers.{sum(depths[: int(match[1])]) + int(match[2])}.{match[3]}"

    return HF_HIERA.to_timm({_STAGE.sub(through, name): tensor for name, tensor in weights.items()})


def _huggingface_names_back(weights: Weights) -> Weights:
    """Number the layers by stages: a block with a projection of its residual begins one."""
    begins = sorted({0} | {int(m[1]) for name in weights if (m := re.match(r"blocks\.(\d+)\.proj\.", name))})

    def staged(match: re.Match[str]) -> str:
        number = int(match[1])
        stage = max(index for index, first in enumerate(begins) if first <= number)
        return f"encoder.stages.{stage}.layers.{number - begins[stage]}."

    named = HF_HIERA.names_back(weights)
    return {re.sub(r"^layers\.(\d+)\.", staged, name): tensor for name, tensor in named.items()}


def is_hiera(shapes: Shapes) -> bool:
    """Return whether tensors are Hiera's, whose blocks at the beginning of a stage project their residual."""
    blocks = anywhere(shapes, r"blocks\.\d+\.attn\.qkv\..+") and anywhere(shapes, r"blocks\.\d+\.proj\..+")
    return blocks and not _is_sam2(shapes) and not _is_hf_sam2(shapes) and not _is_mvit(shapes)


def _is_mvit(shapes: Shapes) -> bool:
    """Return whether tensors are MViT's, whose attention pools and norms its queries and keys by themselves."""
    return anywhere(shapes, r"blocks\.\d+\.attn\.(norm|pool)_[qkv]\..+")


def _is_sam2(shapes: Shapes) -> bool:
    """Return whether tensors are those of SAM 2's encoder, as its authors or timm name them: two tables of positions,
    of which one is repeated over the windows."""
    own = "pos_embed_window" in shapes or anywhere(shapes, r"blocks\.\d+\.mlp\.layers\.[01]\..+")
    return own and anywhere(shapes, r"blocks\.\d+\.norm[12]\..+")


def _is_hf_sam2(shapes: Shapes) -> bool:
    return anywhere(shapes, r"blocks\.\d+\.mlp\.proj_(in|out)\..+") and anywhere(
        shapes, r"blocks\.\d+\.layer_norm1\..+"
    )


def _is_hf_hiera(shapes: Shapes) -> bool:
    return anywhere(shapes, r"encoder\.stages\.\d+\.layers\.\d+\.(attn\.qkv|layernorm_before|mlp\.fc1)\..+")


def is_sam(shapes: Shapes) -> bool:
    """Return whether tensors are those of SAM's encoder: positions by rows and columns, in each block."""
    own = anywhere(shapes, r"blocks\.\d+\.attn\.rel_pos_[hw]|blocks\.\d+\.mlp\.lin[12]\..+")
    return own and not _is_mvit(shapes)


def _is_hf_sam(shapes: Shapes) -> bool:
    own = anywhere(shapes, r"layers\.\d+\.attn\.rel_pos_[hw]|layers\.\d+\.mlp\.lin[12]\..+")
    return own and not anywhere(shapes, r"layers\.\d+\.ffn\..+")  # which is mmpretrain's


WINDOWED_LAYOUTS: tuple[Layout, ...] = (
    HIERA.layout("hiera", "hiera", "Hiera and Hiera-MAE (facebookresearch/hiera), and of timm", is_hiera),
    Layout(
        "huggingface-hiera",
        "hiera",
        "Hiera and Hiera-MAE of Hugging Face transformers",
        _is_hf_hiera,
        _huggingface_to_timm,
        names_back=_huggingface_names_back,
    ),
    SAM2.layout("sam2", "sam2", "the image encoder of SAM 2 (facebookresearch/sam2), and of timm", _is_sam2),
    HF_SAM2.layout("huggingface-sam2", "sam2", "the image encoder of SAM 2 of Hugging Face transformers", _is_hf_sam2),
    SAM.layout("sam", "sam", "the image encoder of SAM (facebookresearch/segment-anything), and of timm", is_sam),
    HF_SAM.layout("huggingface-sam", "sam", "the image encoder of SAM of Hugging Face transformers", _is_hf_sam),
)
