"""ViT of mmpretrain and mmselfsup (MAE, MoCo v3 and DINOv2 among them).

Source: open-mmlab/mmpretrain `models/backbones/vision_transformer.py`, `models/utils/attention.py`.
"""

from __future__ import annotations

from transfer.checkpoint.layouts.layout import Layout, Shapes
from transfer.checkpoint.layouts.pairs import Names, anywhere, is_image_patch

_NAMES = Names(
    (
        ("patch_embed.projection", "patch_embed.proj"),
        ("layers.{}.ln1", "blocks.{}.norm1"),
        ("layers.{}.attn.qkv", "blocks.{}.attn.qkv"),
        ("layers.{}.attn.proj", "blocks.{}.attn.proj"),
        ("layers.{}.attn.gamma1.weight", "blocks.{}.ls1.gamma"),
        ("layers.{}.ln2", "blocks.{}.norm2"),
        ("layers.{}.ffn.layers.0.0", "blocks.{}.mlp.fc1"),
        ("layers.{}.ffn.layers.1", "blocks.{}.mlp.fc2"),
        ("layers.{}.ffn.w12", "blocks.{}.mlp.fc1"),
        ("layers.{}.ffn.w3", "blocks.{}.mlp.fc2"),
        ("layers.{}.ffn.gamma2.weight", "blocks.{}.ls2.gamma"),
        ("ln1", "norm"),
        ("ln2", "fc_norm"),
    ),
    beside=("head.", "neck.", "mask_token"),
)


def _recognises(shapes: Shapes) -> bool:
    block = r"layers\.\d+\."
    whole = anywhere(shapes, block + r"attn\.qkv\.weight") and anywhere(shapes, block + r"ln1\.weight")
    plain = not anywhere(shapes, r".*(relative_position_bias_table|q_bias)")
    return whole and plain and is_image_patch(shapes, "patch_embed.projection.weight")


VIT_MMPRETRAIN = Layout(
    "mmpretrain-vit",
    "vit",
    "ViT of mmpretrain and mmselfsup",
    _recognises,
    _NAMES.to_timm,
    names_back=_NAMES.names_back,
)
