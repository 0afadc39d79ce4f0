"""ViT of torchvision. Source: torchvision `models/vision_transformer.py`."""

from __future__ import annotations

from transfer.checkpoint.layouts.layout import Layout, Shapes, Weights
from transfer.checkpoint.layouts.pairs import Names, anywhere, is_image_patch, require

_BLOCK = "encoder.layers.encoder_layer_{}."
_NAMES = Names(
    (
        ("class_token", "cls_token"),
        ("encoder.pos_embedding", "pos_embed"),
        ("conv_proj", "patch_embed.proj"),
        (_BLOCK + "ln_1", "blocks.{}.norm1"),
        (_BLOCK + "self_attention.in_proj_weight", "blocks.{}.attn.qkv.weight"),
        (_BLOCK + "self_attention.in_proj_bias", "blocks.{}.attn.qkv.bias"),
        (_BLOCK + "self_attention.out_proj", "blocks.{}.attn.proj"),
        (_BLOCK + "ln_2", "blocks.{}.norm2"),
        (_BLOCK + "mlp.0", "blocks.{}.mlp.fc1"),
        (_BLOCK + "mlp.3", "blocks.{}.mlp.fc2"),
        # before torchvision 0.13
        (_BLOCK + "mlp.linear_1", "blocks.{}.mlp.fc1"),
        (_BLOCK + "mlp.linear_2", "blocks.{}.mlp.fc2"),
        ("encoder.ln", "norm"),
    ),
    beside=("heads.",),
)
_ALWAYS = ("cls_token", "pos_embed", "patch_embed.proj.weight", "blocks.0.attn.qkv.bias", "norm.weight", "norm.bias")


def _recognises(shapes: Shapes) -> bool:
    attention = anywhere(shapes, r"encoder\.layers\.encoder_layer_\d+\.self_attention\.in_proj_weight")
    return attention and is_image_patch(shapes, "conv_proj.weight")


def _from_timm(weights: Weights) -> Weights:
    require(weights, _ALWAYS, "torchvision")
    return _NAMES.from_timm(weights, "torchvision")


VIT_TORCHVISION = Layout(
    "torchvision-vit", "vit", "ViT of torchvision", _recognises, _NAMES.to_timm, _from_timm, _NAMES.names_back
)
