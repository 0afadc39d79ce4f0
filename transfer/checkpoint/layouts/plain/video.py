"""V-JEPA 2 and VideoMAE, whose kernels have an axis of time: the authors' files and those of Hugging Face transformers.

Both authors name the encoder's tensors as timm's blocks do. Sources: facebookresearch/vjepa2 `src/models`, MCG-NJU/
VideoMAE `modeling_pretrain.py` and `modeling_finetune.py`, transformers `models/vjepa2` and `models/videomae`.
"""

from __future__ import annotations

from transfer.checkpoint.layouts.layout import Layout, Shapes
from transfer.checkpoint.layouts.pairs import Names, anywhere
from transfer.checkpoint.layouts.plain.vit_huggingface import BLOCKS, EMBEDDINGS, QKV

KERNEL = "patch_embed.proj.weight"
_HF_VJEPA2 = "embeddings.patch_embeddings.proj"
_HF_VIDEOMAE = "embeddings.patch_embeddings.projection.weight"
_OF_VJEPA_1 = (1568, 4608)
"""Rows of the tables of V-JEPA's first encoders: 8 time steps of images of 224 and 384 px."""
# A table of positions was left in the published files, though rotations take its place (`src/hub/backbones.py`).
_VJEPA2 = Names((), beside=("pos_embed", "head."))
_VIDEOMAE = Names((), beside=("head.", "mask_token"))
_ATTENTION = "encoder.layer.{}.attention.attention."
_VIDEOMAE_OF_HUGGINGFACE = Names(
    (
        *EMBEDDINGS[2:],
        *BLOCKS,
        (_ATTENTION + "q_bias", "blocks.{}.attn.q_bias"),
        (_ATTENTION + "v_bias", "blocks.{}.attn.v_bias"),
        (_ATTENTION + "query.bias", "blocks.{}.attn.q_bias"),
        (_ATTENTION + "value.bias", "blocks.{}.attn.v_bias"),
        ("layernorm", "norm"),
        ("fc_norm", "fc_norm"),
    ),
    QKV,
    beside=("classifier.",),
)
_LAYER = "layer.{}."
_VJEPA2_OF_HUGGINGFACE = Names(
    (
        (_HF_VJEPA2, "patch_embed.proj"),
        (_LAYER + "norm1", "blocks.{}.norm1"),
        (_LAYER + "attention.proj", "blocks.{}.attn.proj"),
        (_LAYER + "norm2", "blocks.{}.norm2"),
        (_LAYER + "mlp.fc1", "blocks.{}.mlp.fc1"),
        (_LAYER + "mlp.fc2", "blocks.{}.mlp.fc2"),
        ("layernorm", "norm"),
    ),
    ((tuple(f"{_LAYER}attention.{part}" for part in ("query", "key", "value")), "blocks.{}.attn.qkv"),),
)


def is_clip_kernel(shapes: Shapes, name: str) -> bool:
    """Return whether a projection of patches has an axis of time."""
    return len(shapes.get(name, ())) == 5


def is_vjepa_1(shapes: Shapes) -> bool:
    """Return whether tensors are V-JEPA's, the first, whose positions are a table of one of its sizes."""
    table = shapes.get("pos_embed", ())
    return _has_blocks(shapes, "qkv.bias") and len(table) == 3 and table[1] in _OF_VJEPA_1


def is_huggingface_vjepa2(shapes: Shapes) -> bool:
    """Return whether tensors are V-JEPA 2's as transformers names them."""
    return anywhere(shapes, rf"{_HF_VJEPA2}\.(weight|bias)") and anywhere(shapes, r"layer\.\d+\..+")


def _has_blocks(shapes: Shapes, bias: str) -> bool:
    """Return whether there are timm's blocks with a bias of this name, a kernel with time, and no class token."""
    found = is_clip_kernel(shapes, KERNEL) and anywhere(shapes, rf"blocks\.\d+\.attn\.({bias})")
    return found and "cls_token" not in shapes


def _is_huggingface_videomae(shapes: Shapes) -> bool:
    blocks = anywhere(shapes, r"encoder\.layer\.\d+\..+")
    return is_clip_kernel(shapes, _HF_VIDEOMAE) and blocks and "embeddings.cls_token" not in shapes


VIDEO_LAYOUTS: tuple[Layout, ...] = (
    Layout(
        "vjepa2",
        "video",
        "V-JEPA 2 (facebookresearch/vjepa2), predictor left out",
        lambda shapes: _has_blocks(shapes, r"qkv\.bias") and not is_vjepa_1(shapes),
        _VJEPA2.to_timm,
    ),
    Layout(
        "videomae",
        "video",
        "VideoMAE and VideoMAE v2 (MCG-NJU, OpenGVLab), pretrained with the decoder left out, or fine-tuned",
        lambda shapes: _has_blocks(shapes, "[qv]_bias"),
        _VIDEOMAE.to_timm,
    ),
    _VJEPA2_OF_HUGGINGFACE.layout(
        *("huggingface-vjepa2", "video", "V-JEPA 2 of Hugging Face transformers, predictor and pooler left out"),
        is_huggingface_vjepa2,
    ),
    _VIDEOMAE_OF_HUGGINGFACE.layout(
        *("huggingface-videomae", "video", "VideoMAE of Hugging Face transformers, decoder left out"),
        _is_huggingface_videomae,
    ),
)
