"""What papers call an encoder follows its true shape: those of timm's models, and of every encoder that ships."""

from __future__ import annotations

import pytest
import timm
import torch

from benchmarks.catalogue.backbones import BACKBONES, backbone_name
from benchmarks.config import recipe_names
from benchmarks.encoders import Architecture, find_architecture

SHIPPED = {
    "digits_swin": None,
    "simmim_vit_base": "ViT-B",
    "simmim_vit_large": "ViT-L",
    "swin_base_window6": "Swin-B",
    "swin_large_window12": "Swin-L",
    "swin_small_window6": "Swin-S",
    "swin_tiny_window6": "Swin-T",
    "swinv2_base_window12": "SwinV2-B",
    "swinv2_giant_modelhub_window12": "SwinV2-g",
    "swinv2_giant_window12": "SwinV2-G",
    "swinv2_huge_window12": "SwinV2-H",
    "swinv2_large_window12": "SwinV2-L",
    "swinv2_small_window12": "SwinV2-S",
    "swinv2_tiny_window12": "SwinV2-T",
    **dict.fromkeys((f"videomae_vit_{size}" for size in ("small", "base", "large", "huge", "giant")), None),
    **dict.fromkeys((f"vjepa2_vit_{size}" for size in ("large", "huge", "giant")), None),
}


def test_every_shipped_encoder_has_the_name_of_its_shape() -> None:
    assert {name: backbone_name(find_architecture(name)) for name in recipe_names("encoders")} == SHIPPED


@pytest.mark.parametrize(
    "name",
    [
        *("swin_tiny_patch4_window7_224", "swin_small_patch4_window7_224", "swin_base_patch4_window12_384"),
        *("swin_large_patch4_window7_224", "swinv2_tiny_window8_256", "swinv2_small_window16_256"),
        *("swinv2_base_window12to16_192to256", "swinv2_large_window12_192", "deit_tiny_patch16_224"),
        *("vit_small_patch16_384", "beit_base_patch16_224", "vit_large_patch16_224", "vit_huge_patch14_clip_224"),
    ],
)
def test_timm_builds_the_shape_that_the_table_has(name: str) -> None:
    """The table is what is read without torch; timm's own models say whether it is true."""
    with torch.device("meta"):
        model = timm.create_model(name, num_classes=0)
    named = backbone_name(Architecture(name=name))
    assert named is not None
    shape = BACKBONES[named]
    stages = getattr(model, "layers", None)
    blocks = [stage.blocks for stage in stages] if stages is not None else [model.blocks]
    assert shape.depths == tuple(map(len, blocks))
    assert shape.heads == tuple(stage[0].attn.num_heads for stage in blocks)
    weight = model.patch_embed.proj.weight
    assert (shape.width, shape.patch_px) == (weight.shape[0], weight.shape[-1])


@pytest.mark.parametrize(
    ("name", "arguments", "named"),
    [
        ("swin_base_patch4_window7_224", {"window_size": 6, "img_size": 192, "in_chans": 1}, "Swin-B"),
        ("swin_tiny_patch4_window7_224", {"depths": [2, 2, 18, 2]}, "Swin-S"),
        ("swin_tiny_patch4_window7_224", {"embed_dim": 32}, None),
        ("swin_base_patch4_window7_224", {"patch_size": 2}, None),
        ("swin_base_patch4_window7_224", {"num_heads": [4, 8, 16, 16]}, None),
        ("swin_base_patch4_window7_224", {"mlp_ratio": 2.0}, None),
        ("vit_base_patch16_224", {"depth": 8}, None),
        ("vit_base_patch32_224", {}, None),
        ("vit_base_patch14_reg4_dinov2.lvd142m", {}, None),
        ("resnet50.tv_in1k", {}, "ResNet-50"),
        ("resnet101", {}, None),
    ],
)
def test_arguments_make_another_backbone_or_none(name: str, arguments: dict[str, object], named: str | None) -> None:
    assert backbone_name(Architecture.model_validate({"name": name, "arguments": arguments})) == named
