"""Frozen features against timm's own pooling and its own intermediate features."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from torch import nn

from benchmarks.errors import UserError
from tests.support.random_weights import randomise
from transfer.encoder.features import OUTPUT, Feature, FrozenEncoder, chosen_layers, last_blocks
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
    assert encoder.width(Feature(encoder.layers, pooling)) == expected.shape[1]


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
    assert [encoder.width(Feature((layer,), "class-token-and-mean")) for layer in encoder.layers] == [64, 64]
    for one, (patches, prefix) in zip(found, expected, strict=True):
        torch.testing.assert_close(one, torch.cat([prefix[:, 0], patches.mean(1)], dim=1))


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("vit_tiny_patch16_224", VIT), ("vit_small_patch14_reg4_dinov2", {**VIT, "patch_size": 16})],
)
def test_joined_blocks_are_dinov2s_input_of_a_classifier(name: str, arguments: dict[str, Any]) -> None:
    """DINOv2 joins the class tokens of the last blocks after the norm and, on request, the last block's mean patch."""
    backbone = model(name, **arguments)
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        blocks = backbone.get_intermediate_layers(images, 2, norm=True, return_prefix_tokens=True)
    tokens = [prefix[:, 0] for _, prefix in blocks]
    layers = last_blocks(2, backbone)
    encoder = FrozenEncoder(backbone, layers, 64, 3)
    wanted = [Feature(layers, "class-token"), Feature(layers, "class-token-and-mean")]
    alone, with_mean = encoder.vectors(images, wanted)
    torch.testing.assert_close(alone, torch.cat(tokens, dim=1))
    torch.testing.assert_close(with_mean, torch.cat([*tokens, blocks[-1][0].mean(dim=1)], dim=1))
    assert [encoder.width(feature) for feature in wanted] == [alone.shape[1], with_mean.shape[1]] == [64, 96]


def test_joined_blocks_of_a_swin_pass_the_last_norm_where_it_fits_and_stand_side_by_side() -> None:
    backbone = model("swin_tiny_patch4_window7_224", **SWIN)
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        stages = backbone.forward_intermediates(images, intermediates_only=True)
        expected = [stages[2].mean((2, 3)), None, backbone(images)]
    layers = last_blocks(3, backbone)
    assert layers == (6, 7, OUTPUT)
    encoder = FrozenEncoder(backbone, layers, 64, 3)
    (found,) = encoder.vectors(images, [Feature(layers, "mean")])
    assert found.shape[1] == encoder.width(Feature(layers, "mean")) == 64 + 128 + 128
    torch.testing.assert_close(found[:, :64], expected[0])
    torch.testing.assert_close(found[:, 192:], expected[2])
    # A LayerNorm has run over every token of block 7: without its scale and shift each has mean 0, as has their mean.
    plain = (found[:, 64:192] - backbone.norm.bias) / backbone.norm.weight
    torch.testing.assert_close(plain.mean(dim=1), torch.zeros(2), atol=1e-4, rtol=0)


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
    with pytest.raises(UserError, match="whose blocks"):
        chosen_layers((1,), timm.create_model("densenet121"))


@pytest.mark.parametrize("pooling", ["own", "class-token"])
@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("vit_base_patch16_siglip_224", VIT),
        ("vit_pe_core_tiny_patch16_384", VIT),
        ("resnet10t", {}),
        ("convnext_atto", {"depths": (1, 1, 2, 1), "dims": (8, 16, 24, 32)}),
        ("mobilenetv3_small_050", {}),
        ("crossvit_9_240", {"img_size": 240}),
    ],
)
def test_a_summary_is_what_the_own_head_takes(name: str, arguments: dict[str, Any], pooling: Pooling) -> None:
    """An attention pool's output, a map's mean after the head's own norm or layers, or the tokens of two branches."""
    backbone = model(name, **arguments)
    side = arguments.get("img_size", 64)
    images = torch.randn(2, 3, side, side)
    with torch.no_grad():
        expected = backbone(images)
    encoder = FrozenEncoder(backbone, (OUTPUT,), side, 3)
    (found,) = encoder.pooled(images, pooling)
    torch.testing.assert_close(found, expected)
    feature = Feature((OUTPUT,), pooling)
    assert encoder.width(feature) == expected.shape[1]
    assert encoder.in_words(feature).startswith("output: what the encoder's own head takes")


def test_an_attention_pool_is_no_mean() -> None:
    """The mean of a SigLIP's tokens, which may be asked for, is not what its head was trained on."""
    backbone = model("vit_base_patch16_siglip_224", **VIT)
    images = torch.randn(2, 3, 64, 64)
    encoder = FrozenEncoder(backbone, (OUTPUT,), 64, 3)
    (mean,) = encoder.pooled(images, "mean")
    torch.testing.assert_close(mean, backbone.forward_features(images).mean(dim=1))
    assert encoder.in_words(Feature((OUTPUT,), "mean")) == "output: mean of patches"
    assert not torch.allclose(mean, encoder.pooled(images, "own")[0])


@pytest.mark.parametrize(
    ("name", "arguments", "own"),
    [
        ("vit_tiny_patch16_224", VIT, "class-token"),  # MAE's and DINO's form
        ("vit_tiny_patch16_224", {**VIT, "global_pool": "avg"}, "mean"),  # fine-tuned by MAE's authors
        (
            "beit_base_patch16_224",
            {**VIT, "use_fc_norm": False},
            "mean",
        ),  # as BEiT and SimMIM pretrain: a norm of tokens
        ("swin_tiny_patch4_window7_224", SWIN, "mean"),
    ],
)
def test_own_inside_an_encoder_is_what_its_head_would_take(name: str, arguments: dict[str, Any], own: Pooling) -> None:
    """No loss of BEiT, SimMIM or data2vec has trained a class token: their own heads take the mean of the patches."""
    backbone = model(name, **arguments)
    images = torch.randn(2, 3, 64, 64)
    encoder = FrozenEncoder(backbone, (2,), 64, 3)
    torch.testing.assert_close(encoder.pooled(images, "own"), encoder.pooled(images, own), rtol=0, atol=0)
    assert encoder.in_words(Feature((2,), "own")) == encoder.in_words(Feature((2,), own))
    output = FrozenEncoder(backbone, (OUTPUT,), 64, 3)
    torch.testing.assert_close(output.pooled(images, "own")[0], backbone(images))
