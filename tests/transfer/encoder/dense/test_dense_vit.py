"""Dense features of ViT and BEiT, and the pyramid on top of them."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from torch import Tensor
from torch.nn.functional import pad

from benchmarks.encoders import Architecture
from benchmarks.errors import UserError
from tests.support.libraries import library
from tests.support.random_weights import randomise
from tests.transfer.encoder.witnesses import SIZES, copy_transformers_vit, difference, images, whole_patches
from transfer.encoder.dense import Encoder, build_encoder
from transfer.encoder.proof.fit import fit_weights
from transfer.encoder.pyramid import PyramidEncoder, SimpleFeaturePyramid, with_four_levels

SMALL: dict[str, Any] = {"embed_dim": 24, "depth": 2, "num_heads": 3}
VIT = Architecture(name="vit_tiny_patch16_224", arguments=SMALL)
BEIT = Architecture(
    name="beit_base_patch16_224",
    arguments={**SMALL, "use_abs_pos_emb": False, "use_rel_pos_bias": True, "init_values": 0.1},
)
LIMIT = 1e-5


def encoder(architecture: Architecture, **options: Any) -> Encoder:
    built = build_encoder(architecture, **options).eval()
    randomise(built)
    return built


def maps(ours: Encoder, height: int, width: int) -> list[Tensor]:
    with torch.no_grad():
        return ours.features(images(height, width))


@pytest.mark.parametrize("size", [(224, 224), *SIZES])
def test_transformers_vit(size: tuple[int, int]) -> None:
    transformers = library("transformers", "transformers")
    theirs = transformers.ViTModel(transformers.ViTConfig(**_transformers()), add_pooling_layer=False).eval()
    randomise(theirs)
    ours = build_encoder(VIT).eval()
    copy_transformers_vit(ours.backbone, theirs)
    batch = whole_patches(images(*size), 16)
    with torch.no_grad():
        states = theirs(batch, interpolate_pos_encoding=True, output_hidden_states=True).hidden_states
    assert difference(maps(ours, *size), [_as_map(states[2], batch)]) < LIMIT


@pytest.mark.parametrize("size", [(224, 224), *SIZES])
def test_transformers_beit(size: tuple[int, int]) -> None:
    """transformers resizes tables to the image's grid linearly."""
    transformers = library("transformers", "transformers")
    config = transformers.BeitConfig(**_transformers(), use_relative_position_bias=True, layer_norm_eps=1e-6)
    theirs = transformers.BeitModel(config, add_pooling_layer=False).eval()
    randomise(theirs)
    ours = build_encoder(BEIT, table_mode="linear").eval()
    copy_transformers_vit(ours.backbone, theirs)
    batch = whole_patches(images(*size), 16)
    with torch.no_grad():
        states = theirs(batch, output_hidden_states=True).hidden_states
    assert difference(maps(ours, *size), [_as_map(states[2], batch)]) < LIMIT


def _transformers() -> dict[str, int]:
    return {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 96}


def _as_map(states: Tensor, batch: Tensor) -> Tensor:
    """Return hidden states [B, 1 + h * w, D] of images as a map [B, D, h, w]."""
    height, width = batch.shape[2] // 16, batch.shape[3] // 16
    return states[:, 1:].transpose(1, 2).reshape(len(states), -1, height, width)


@pytest.mark.parametrize("size", [(224, 224), *SIZES])
@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("vit_tiny_patch16_224", {}),
        ("vit_small_patch14_reg4_dinov2", {"patch_size": 16, "img_size": 224, "init_values": 0.1}),
        ("vit_base_patch16_clip_224", {}),
        ("deit_tiny_distilled_patch16_224", {}),
        ("beit_base_patch16_224", {"use_abs_pos_emb": True, "use_rel_pos_bias": True, "init_values": 0.1}),
        ("beit_base_patch16_224", {"use_shared_rel_pos_bias": True, "use_rel_pos_bias": False, "init_values": None}),
    ],
)
def test_a_timm_model_built_for_the_size(name: str, arguments: dict[str, Any], size: tuple[int, int]) -> None:
    """Weights resized once by `fit_weights`, or in every forward: the same features, with any prefix tokens."""
    ours = encoder(Architecture(name=name, arguments={**SMALL, **arguments}))
    batch = whole_patches(images(*size), 16)
    at_size = {**SMALL, **arguments, "img_size": tuple(batch.shape[2:])}
    theirs: Any = timm.create_model(name, num_classes=0, **at_size).eval()
    theirs.load_state_dict(fit_weights(ours.backbone.state_dict(), theirs).weights, strict=True)
    with torch.no_grad():
        expected = theirs.forward_intermediates(batch, indices=1, intermediates_only=True)
    assert difference(maps(ours, *size), expected) < LIMIT


def test_beits_tables_are_trained_at_any_size() -> None:
    ours = encoder(BEIT).train()
    ours.features(images(101, 157))[0].square().sum().backward()
    for name, parameter in ours.named_parameters():
        if "table" in name:
            assert parameter.grad is not None
            assert bool((parameter.grad[:-3] != 0).any(dim=0).all())


@pytest.mark.parametrize("size", [(224, 224), (1, 1), *SIZES])
def test_the_pyramid_has_four_levels_at_any_size(size: tuple[int, int]) -> None:
    built = with_four_levels(encoder(VIT), channels=8).eval()
    assert (built.channels, built.strides) == ((8, 8, 8, 8), (4, 8, 16, 32))
    with torch.no_grad():
        found = built.features(images(*size))
    assert [tuple(item.shape) for item in found] == [
        (2, 8, -(-size[0] // stride), -(-size[1] // stride)) for stride in (4, 8, 16, 32)
    ]


def test_the_pyramid_is_that_of_vitdet() -> None:
    """Its published layers (arXiv:2203.16527, 3), by hand: deconvolve, 1x1, norm, 3x3, norm."""
    pyramid = SimpleFeaturePyramid(24, 8)
    randomise(pyramid)
    feature = torch.randn(2, 24, 4, 6)
    weights = pyramid.state_dict()
    lengths = [len([name for name in weights if name.startswith(f"levels.{level}.")]) for level in range(4)]
    assert lengths == [6 + 6, 2 + 6, 6, 6]
    middle: Any = pyramid.levels[2]
    _, narrow, norm1, smooth, norm2 = middle
    expected = channel_norm(torch.einsum("bdhw,cd->bchw", feature, narrow.weight[:, :, 0, 0]), norm1)
    expected = channel_norm(torch.conv2d(expected, smooth.weight, padding=1), norm2)
    with torch.no_grad():
        found = pyramid(feature, 64, 96)
        torch.testing.assert_close(found[2], expected)
        halved = feature.reshape(2, 24, 2, 2, 3, 2).amax(dim=(3, 5))
        coarse: Any = pyramid.levels[3]
        torch.testing.assert_close(found[3], torch.nn.Sequential(*coarse[1:])(halved))


def channel_norm(maps: Tensor, norm: Any) -> Tensor:
    """Normalise maps [B, D, h, w] over D."""
    mean, variance = maps.mean(dim=1, keepdim=True), maps.var(dim=1, keepdim=True, unbiased=False)
    scaled = (maps - mean) / (variance + 1e-6).sqrt()
    return scaled * norm.weight[:, None, None] + norm.bias[:, None, None]


def test_another_patch_needs_another_architecture() -> None:
    patch14 = build_encoder(Architecture(name="vit_small_patch14_dinov2", arguments={**SMALL, "img_size": 224}))
    assert patch14.strides == (14,)
    with pytest.raises(UserError, match="patch_size=16"):
        PyramidEncoder(patch14)


def test_padding_is_at_the_bottom_and_the_right() -> None:
    ours, batch = encoder(VIT), images(101, 157)
    with torch.no_grad():
        assert ours.features(batch)[0].equal(ours.features(pad(batch, (0, 3, 0, 11)))[0])
