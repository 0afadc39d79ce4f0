"""DINOv2 ViT: the official layout and that of Hugging Face transformers.

Source: facebookresearch/dinov2 `models/vision_transformer.py`, `layers/`; transformers `models/dinov2*`.
"""

from __future__ import annotations

import re

from transfer.checkpoint.layouts.layout import Layout, Shapes, Weights
from transfer.checkpoint.layouts.pairs import (
    Names,
    anywhere,
    has_relative_positions,
    has_timm_blocks,
    is_image_patch,
)

# `blocks.<chunk>.<block>.`: blocks are numbered through all chunks.
_CHUNKED = re.compile(r"blocks\.\d+\.(\d+\.)")
_LAYER = "encoder.layer.{}.attention."
_OFFICIAL = Names(
    (
        ("register_tokens", "reg_token"),
        ("blocks.{}.mlp.w12", "blocks.{}.mlp.fc1"),
        ("blocks.{}.mlp.w3", "blocks.{}.mlp.fc2"),
    ),
    beside=("mask_token", "head."),
)
_HUGGINGFACE = Names(
    (
        ("embeddings.cls_token", "cls_token"),
        ("embeddings.register_tokens", "reg_token"),
        ("embeddings.position_embeddings", "pos_embed"),
        ("embeddings.patch_embeddings.projection", "patch_embed.proj"),
        ("encoder.layer.{}.norm1", "blocks.{}.norm1"),
        ("encoder.layer.{}.attention.output.dense", "blocks.{}.attn.proj"),
        ("encoder.layer.{}.attention.o_proj", "blocks.{}.attn.proj"),
        ("encoder.layer.{}.layer_scale1.lambda1", "blocks.{}.ls1.gamma"),
        ("encoder.layer.{}.norm2", "blocks.{}.norm2"),
        ("encoder.layer.{}.mlp.fc1", "blocks.{}.mlp.fc1"),
        ("encoder.layer.{}.mlp.fc2", "blocks.{}.mlp.fc2"),
        ("encoder.layer.{}.mlp.weights_in", "blocks.{}.mlp.fc1"),
        ("encoder.layer.{}.mlp.weights_out", "blocks.{}.mlp.fc2"),
        ("encoder.layer.{}.mlp.down_proj", "blocks.{}.mlp.fc2"),
        ("encoder.layer.{}.layer_scale2.lambda1", "blocks.{}.ls2.gamma"),
        ("layernorm", "norm"),
    ),
    joins=(
        ((_LAYER + "attention.query", _LAYER + "attention.key", _LAYER + "attention.value"), "blocks.{}.attn.qkv"),
        ((_LAYER + "q_proj", _LAYER + "k_proj", _LAYER + "v_proj"), "blocks.{}.attn.qkv"),
        (("encoder.layer.{}.mlp.gate_proj", "encoder.layer.{}.mlp.up_proj"), "blocks.{}.mlp.fc1"),
    ),
    beside=("embeddings.mask_token", "classifier."),
)


def is_dinov2(shapes: Shapes) -> bool:
    """Return whether tensors are DINOv2's, by a mask token of two dimensions, registers, chunks or SwiGLU."""
    if not has_timm_blocks(shapes) or has_relative_positions(shapes) or anywhere(shapes, r"storage_tokens|rope.*"):
        return False
    marked = len(shapes.get("mask_token", ())) == 2 or "register_tokens" in shapes
    return marked or anywhere(shapes, r"blocks\.\d+\.(\d+\..*|mlp\.w12\..*)")


def _is_huggingface(shapes: Shapes) -> bool:
    patches = is_image_patch(shapes, "embeddings.patch_embeddings.projection.weight")
    return patches and anywhere(shapes, r"encoder\.layer\.\d+\.layer_scale[12]\.lambda1")


def _to_timm(weights: Weights) -> Weights:
    unchunked = {_CHUNKED.sub(r"blocks.\1", name): tensor for name, tensor in weights.items()}
    return _fold_registers(_OFFICIAL.to_timm(unchunked if len(unchunked) == len(weights) else weights))


def _fold_registers(weights: Weights) -> Weights:
    """Add the class token's position to the token, for in timm's encoders with registers the table covers only patches.

    The model's own first step is this very sum, so not a bit of its features changes. Tensors are left alone where
    there are no registers, or where token and table do not fit each other.
    """
    token, table = weights.get("cls_token"), weights.get("pos_embed")
    if "reg_token" not in weights or token is None or table is None:
        return weights
    if table.ndim != 3 or table[:, :1].shape != token.shape:
        return weights
    return {**weights, "cls_token": token + table[:, :1], "pos_embed": table[:, 1:].clone()}


DINOV2 = Layout(
    "dinov2",
    "vit",
    "DINOv2 ViT, chunked or not (facebookresearch/dinov2)",
    is_dinov2,
    _to_timm,
    names_back=_OFFICIAL.names_back,
)
DINOV2_HUGGINGFACE = Layout(
    "huggingface-dinov2",
    "vit",
    "DINOv2 of Hugging Face transformers",
    _is_huggingface,
    lambda weights: _fold_registers(_HUGGINGFACE.to_timm(weights)),
    names_back=_HUGGINGFACE.names_back,
)
