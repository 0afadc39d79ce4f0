"""ViT layouts that share timm's naming (timm old and new, MAE, MoCo v3, DINO, iBOT), and the list of all ViT layouts.

Sources: facebookresearch/mae `models_mae.py`, facebookresearch/moco-v3 `vits.py` and `moco/builder.py`,
facebookresearch/dino and bytedance/ibot `vision_transformer.py`. Published files that hold the bare backbone of DINO
or iBOT are in timm's own layout, and are reported as such.
"""

from __future__ import annotations

import re

from transfer.checkpoint.layouts.layout import Layout, Shapes
from transfer.checkpoint.layouts.pairs import (
    Names,
    anywhere,
    has_relative_positions,
    has_timm_blocks,
    has_two_tokens,
    without,
)
from transfer.checkpoint.layouts.plain.dinov2 import DINOV2, DINOV2_HUGGINGFACE, is_dinov2
from transfer.checkpoint.layouts.plain.eva import is_timm_eva
from transfer.checkpoint.layouts.plain.vit_huggingface import DEIT_HUGGINGFACE, VIT_HUGGINGFACE
from transfer.checkpoint.layouts.plain.vit_mmpretrain import VIT_MMPRETRAIN
from transfer.checkpoint.layouts.plain.vit_torchvision import VIT_TORCHVISION

HEADS = ("head.", "head_dist.", "pre_logits.", "mask_token")
LAYER_SCALE = (("blocks.{}.gamma_1", "blocks.{}.ls1.gamma"), ("blocks.{}.gamma_2", "blocks.{}.ls2.gamma"))
_TIMM = Names(LAYER_SCALE, beside=HEADS)
_MAE = Names((), beside=(*HEADS, "decoder_"))
_IBOT = Names(LAYER_SCALE, beside=(*HEADS, "masked_embed"))


# Parts of blocks that ViT has under any of the names read here. Blocks of other parts are another model's.
_PARTS = re.compile(
    r"blocks\.(\d+\.)+((norm[12]|attn\.(qkv|proj)|mlp\.(fc1|fc2|w12|w3))\.(weight|bias)|ls[12]\.gamma|gamma_[12])"
)
_OTHERS = r"norm_pre\..+|attn_pool\..+|dist_token|rope.*|storage_tokens|patch_embed\.backbone\..+"


def _is_vit(shapes: Shapes) -> bool:
    if not has_timm_blocks(shapes) or has_relative_positions(shapes) or is_timm_eva(shapes):
        return False
    own = all(_PARTS.fullmatch(name) for name in shapes if name.startswith("blocks."))
    scaled = anywhere(shapes, r"blocks\.\d+\.gamma_[12]") and "pos_embed" not in shapes  # rotary positions
    if has_two_tokens(shapes, "dist_token", "pos_embed"):
        return False
    return own and not scaled and not anywhere(shapes, _OTHERS)


def _is_distilled(shapes: Shapes) -> bool:
    return has_timm_blocks(shapes) and has_two_tokens(shapes, "dist_token", "pos_embed")


def _is_mae(shapes: Shapes) -> bool:
    return _is_vit(shapes) and anywhere(shapes, r"decoder_(embed|pred|norm|blocks)\..*")


def _is_moco(shapes: Shapes) -> bool:
    """Return whether the head is MoCo v3's projector: an MLP with batch norms behind its layers, never before them.

    MAE's linear probe has a batch norm before its only layer.
    """
    return _is_vit(shapes) and anywhere(shapes, r"head\.[1-9]\d*\.running_mean")


def _is_ibot(shapes: Shapes) -> bool:
    return _is_vit(shapes) and anywhere(shapes, r"masked_embed|head\.last_layer2\..*")


def _is_dino(shapes: Shapes) -> bool:
    return _is_vit(shapes) and anywhere(shapes, r"head\.last_layer\..*") and not _is_ibot(shapes)


def _is_timm(shapes: Shapes) -> bool:
    others = (_is_mae, _is_moco, _is_ibot, _is_dino, is_dinov2)
    return _is_vit(shapes) and not any(is_other(shapes) for is_other in others)


VIT_LAYOUTS: tuple[Layout, ...] = (
    Layout(
        "timm-vit",
        "vit",
        "ViT of timm, old and new, and of all who keep its names: DeiT, fine-tuned MAE, bare DINO and iBOT backbones",
        _is_timm,
        _TIMM.to_timm,
        lambda weights: without(weights, HEADS),
    ),
    Layout("mae", "vit", "MAE pretraining (facebookresearch/mae), decoder left out", _is_mae, _MAE.to_timm),
    Layout("moco-v3", "vit", "MoCo v3 ViT (facebookresearch/moco-v3), projector left out", _is_moco, _TIMM.to_timm),
    Layout("dino", "vit", "DINO ViT with its head (facebookresearch/dino)", _is_dino, _TIMM.to_timm),
    Layout("ibot", "vit", "iBOT ViT with its head or mask embedding (bytedance/ibot)", _is_ibot, _IBOT.to_timm),
    _TIMM.layout("distilled-deit", "distilled", "distilled DeiT (facebookresearch/deit), and of timm", _is_distilled),
    DINOV2,
    VIT_HUGGINGFACE,
    DEIT_HUGGINGFACE,
    DINOV2_HUGGINGFACE,
    VIT_TORCHVISION,
    VIT_MMPRETRAIN,
)
