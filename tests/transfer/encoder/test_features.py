"""Frozen features against timm's own pooling and its own intermediate features."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from torch import nn

from benchmarks.errors import UserError
from tests.random_weights import randomise
from transfer.encoder.features import OUTPUT, FrozenEncoder, chosen_layers
from transfer.encoder.sizes import Pooling

SWIN = {"embed_dim": 16, "depths": (2, 2, 2, 2), "num_heads": (1, 2, 4, 8), "img_size": 64, "window_size": 4}
VIT = {"embed_dim": 32, "depth": 3, "num_heads": 4, "img_size": 64}


def model(name: str, **arguments: Any) -> Any:
    built: nn.Module = timm.create_model(name, num_classes=0, **arguments)
    randomise(built)
    return built.eval()


@pytest.mark.parametrize(
    ("name", "arguments", "pooling"),
    [
        ("swin_tiny_patch4_window7_224", SWIN, "mean"),
        ("swin_tiny_patch4_window7_224", SWIN, "class-token"),
        ("swinv2_tiny_window8_256", SWIN, "mean"),
        ("vit_tiny_patch16_224", VIT, "class-token"),
        ("vit_tiny_patch16_224", {**VIT, "global_pool": "avg"}, "mean"),
        ("vit_small_patch14_reg4_dinov2", {**VIT, "patch_size": 16}, "class-token"),
        ("beit_base_patch16_224", VIT, "mean"),
    ],
)
def test_the_output_is_timms(name: str, arguments: dict[str, Any], pooling: Pooling) -> None:
    backbone = model(name, **arguments)
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected = backbone(images)
    encoder = FrozenEncoder(backbone, (OUTPUT,), 64, 3)
    (found,) = encoder.pooled(images, pooling)
    torch.testing.assert_close(found, expected)
    assert encoder.pooled_widths(pooling) == [expected.shape[1]]


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "beit_base_patch16_224"])
def test_blocks_of_a_vit_are_timms_intermediate_features(name: str) -> None:
    backbone = model(name, **VIT)
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected = backbone.forward_intermediates(
            images, indices=[0, 2], return_prefix_tokens=True, output_fmt="NLC", intermediates_only=True
        )
    encoder = FrozenEncoder(backbone, (1, 3), 64, 3)
    found = encoder.pooled(images, "class-token-and-mean")
    assert encoder.pooled_widths("class-token-and-mean") == [64, 64]
    for one, (patches, prefix) in zip(found, expected, strict=True):
        torch.testing.assert_close(one, torch.cat([prefix[:, 0], patches.mean(1)], dim=1))


def test_blocks_of_a_swin_count_through_its_stages() -> None:
    backbone = model("swin_tiny_patch4_window7_224", **SWIN)
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        stages = backbone.forward_intermediates(images, intermediates_only=True)
    encoder = FrozenEncoder(backbone, (2, 4, 6, 8), 64, 3)
    assert encoder.widths == [16, 32, 64, 128]
    for found, expected in zip(encoder.patches(images), stages, strict=True):
        torch.testing.assert_close(found, expected.flatten(2).mT)


def test_a_frozen_encoder_stays_in_evaluation_mode_and_has_no_gradients() -> None:
    encoder = FrozenEncoder(model("vit_tiny_patch16_224", **VIT, drop_path_rate=0.5), (OUTPUT,), 64, 3)
    nn.Sequential(encoder).train()
    assert not any(module.training for module in encoder.modules())
    (found,) = encoder.pooled(torch.randn(2, 3, 64, 64), "class-token")
    assert not found.requires_grad
    assert not any(parameter.requires_grad for parameter in encoder.parameters())


def test_layers_are_those_of_the_encoder() -> None:
    backbone = model("swin_tiny_patch4_window7_224", **SWIN)
    assert chosen_layers((8, 2), backbone) == (2, 8)
    assert chosen_layers(None, backbone) == (OUTPUT,)
    with pytest.raises(UserError, match=r"layer = 9\n  rule:   at most 8"):
        chosen_layers((3, 9), backbone)
    with pytest.raises(UserError, match="a Swin, SwinV2, ViT"):
        chosen_layers(None, timm.create_model("resnet18"))
