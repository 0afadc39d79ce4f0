"""ViT and ViT-MAE of Hugging Face transformers.

Both namings are read: the long-standing one, which `save_pretrained` writes, and the one that models of transformers 5
have in memory (`layers.0.attention.q_proj`). The first is the one we write.
Source: transformers `models/vit`, `models/vit_mae`, `conversion_mapping.py`.
"""

from __future__ import annotations

from transfer.checkpoint.layouts.layout import Layout, Shapes, Weights
from transfer.checkpoint.layouts.pairs import Join, Names, anywhere, has_two_tokens, is_image_patch, require

EMBEDDINGS = (
    ("embeddings.cls_token", "cls_token"),
    ("embeddings.position_embeddings", "pos_embed"),
    ("embeddings.patch_embeddings.projection", "patch_embed.proj"),
)
BLOCKS = (
    ("encoder.layer.{}.layernorm_before", "blocks.{}.norm1"),
    ("encoder.layer.{}.attention.output.dense", "blocks.{}.attn.proj"),
    ("encoder.layer.{}.layernorm_after", "blocks.{}.norm2"),
    ("encoder.layer.{}.intermediate.dense", "blocks.{}.mlp.fc1"),
    ("encoder.layer.{}.output.dense", "blocks.{}.mlp.fc2"),
    ("layers.{}.layernorm_before", "blocks.{}.norm1"),
    ("layers.{}.attention.o_proj", "blocks.{}.attn.proj"),
    ("layers.{}.layernorm_after", "blocks.{}.norm2"),
    ("layers.{}.mlp.fc1", "blocks.{}.mlp.fc1"),
    ("layers.{}.mlp.fc2", "blocks.{}.mlp.fc2"),
)
JOINED = "blocks.{}.attn.qkv"
_APART, _IN_MEMORY = "encoder.layer.{}.attention.attention.", "layers.{}.attention."
QKV: tuple[Join, ...] = (
    ((_APART + "query", _APART + "key", _APART + "value"), JOINED),
    ((_IN_MEMORY + "q_proj", _IN_MEMORY + "k_proj", _IN_MEMORY + "v_proj"), JOINED),
)
_NAMES = Names(
    (*EMBEDDINGS, *BLOCKS, ("layernorm", "norm")),
    QKV,
    beside=(
        "pooler.",
        "classifier.",
        "cls_classifier.",
        "distillation_classifier.",
        "decoder.",
        "embeddings.mask_token",
    ),
)
_DISTILLED = Names((("embeddings.distillation_token", "dist_token"), *_NAMES.pairs), QKV, beside=_NAMES.beside)
_ALWAYS = ("cls_token", "pos_embed", "patch_embed.proj.weight", "norm.weight", "norm.bias")


def has_huggingface_blocks(shapes: Shapes) -> bool:
    """Return whether tensors are a ViT's or a BEiT's as transformers names them."""
    patches = is_image_patch(shapes, "embeddings.patch_embeddings.projection.weight")
    return patches and anywhere(shapes, r"(encoder\.layer|layers)\.\d+\.layernorm_before\.weight")


def has_beit_attention(shapes: Shapes) -> bool:
    """Return whether tensors are BEiT's: layer scale, relative positions, or a bias of queries but not of keys."""
    query = anywhere(shapes, r".+\.(attention\.query|q_proj)\.bias")
    key = anywhere(shapes, r".+\.(attention\.key|k_proj)\.bias")
    return (query and not key) or anywhere(shapes, r".+\.lambda_[12]|.*relative_position_(bias_table|index)")


def _recognises(shapes: Shapes) -> bool:
    return has_huggingface_blocks(shapes) and not has_beit_attention(shapes) and not _is_distilled(shapes)


def _is_distilled(shapes: Shapes) -> bool:
    distilled = has_two_tokens(shapes, "embeddings.distillation_token", "embeddings.position_embeddings")
    return has_huggingface_blocks(shapes) and distilled


def _from_timm(weights: Weights) -> Weights:
    require(weights, _ALWAYS, "huggingface")
    return _NAMES.from_timm(weights, "huggingface")


VIT_HUGGINGFACE = Layout(
    "huggingface-vit",
    "vit",
    "ViT, ViT-MAE, DeiT and ViT-MSN of Hugging Face transformers",
    _recognises,
    _NAMES.to_timm,
    _from_timm,
    _NAMES.names_back,
)
DEIT_HUGGINGFACE = _DISTILLED.layout(
    "huggingface-distilled-deit", "distilled", "distilled DeiT of Hugging Face transformers", _is_distilled
)
