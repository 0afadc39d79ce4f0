"""ViT of mmpretrain and mmselfsup (MAE, MoCo v3, DINOv2, CLIP and SAM among them).

Source: open-mmlab/mmpretrain `models/backbones/vision_transformer.py`, `vit_sam.py`, `models/utils/attention.py`.
"""

from __future__ import annotations

from transfer.checkpoint.layouts.layout import Shapes
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
        ("pre_norm", "norm_pre"),
        ("ln1", "norm"),
        ("ln2", "fc_norm"),
    ),
    beside=("head.", "neck.", "mask_token"),
)
_SAM = Names(
    (
        *_NAMES.pairs,
        *((f"layers.{{}}.attn.rel_pos_{axis}", f"blocks.{{}}.attn.rel_pos_{axis}") for axis in "hw"),
        *((f"channel_reduction.{n}", f"neck.{n}") for n in range(4)),
    ),
    beside=("head.",),
)


def _recognises(shapes: Shapes) -> bool:
    block = r"layers\.\d+\."
    whole = anywhere(shapes, block + r"attn\.qkv\.weight") and anywhere(shapes, block + r"ln1\.weight")
    plain = not anywhere(shapes, r".*(relative_position_bias_table|q_bias|rel_pos_[hw])")
    return whole and plain and is_image_patch(shapes, "patch_embed.projection.weight")


def _is_clip(shapes: Shapes) -> bool:
    return _recognises(shapes) and anywhere(shapes, r"pre_norm\..+")


def _is_sam(shapes: Shapes) -> bool:
    return anywhere(shapes, r"layers\.\d+\.attn\.rel_pos_[hw]") and anywhere(shapes, r"layers\.\d+\.ffn\.layers\..+")


VIT_MMPRETRAIN = _NAMES.layout(
    "mmpretrain-vit",
    "vit",
    "ViT of mmpretrain and mmselfsup",
    lambda shapes: _recognises(shapes) and not _is_clip(shapes),
)
CLIP_MMPRETRAIN = _NAMES.layout("mmpretrain-clip", "clip", "CLIP's image tower of mmpretrain", _is_clip)
SAM_MMPRETRAIN = _SAM.layout("mmpretrain-sam", "sam", "the image encoder of SAM of mmpretrain", _is_sam)
