"""Masked encoders against plain timm and published sizes, and by what they may see."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import timm
import torch

from benchmarks.encoders import Architecture, find_architecture
from benchmarks.errors import UserError
from benchmarks.families.blocks import recompute
from pretrain.method.masked_encoders import MaskedEncoder, build_masked_encoder

SMALL_VIT: dict[str, Any] = {"embed_dim": 64, "depth": 3, "num_heads": 2}
SMALL_V2: dict[str, Any] = {"window_size": 4, "embed_dim": 32, "depths": [2, 2, 2, 2], "num_heads": [2, 4, 8, 16]}


def small(name: str, channels: int = 3) -> MaskedEncoder:
    """Return a small encoder of a family for 64 px."""
    torch.manual_seed(0)
    given: dict[str, Any] = {} if channels == 3 else {"in_chans": channels}
    architecture = {
        "swin": find_architecture("digits_swin").with_arguments(**given),
        "swinv2": Architecture(name="swinv2_tiny_window8_256", arguments=SMALL_V2 | given),
        "vit": find_architecture("simmim_vit_base").with_arguments(**SMALL_VIT, **given),
        "resnet": Architecture(name="resnet50", arguments=given),
    }[name]
    return build_masked_encoder(architecture, 64, 0.0).eval()


FAMILIES = ["swin", "swinv2", "vit", "resnet"]
family = pytest.fixture(scope="module", params=FAMILIES)(lambda request: small(request.param))


def images_and_mask(encoder: MaskedEncoder, channels: int = 3) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return images, other images, and a mask of squares of 16 px on the encoder's grid."""
    random = torch.Generator().manual_seed(0)
    images, other = torch.randn(2, 3, channels, 64, 64, generator=random)
    squares, scale = torch.rand(3, 4, 4, generator=random) < 0.6, 16 // encoder.patch_size_px
    return images, other, squares.repeat_interleave(scale, 1).repeat_interleave(scale, 2)


def test_hidden_pixels_cannot_be_seen(family: MaskedEncoder) -> None:
    images, other, hidden = images_and_mask(family)
    size = family.patch_size_px
    pixels = hidden.repeat_interleave(size, 1).repeat_interleave(size, 2).unsqueeze(1)
    changed = torch.where(pixels, other, images)
    with torch.no_grad():
        assert family(images, hidden).equal(family(changed, hidden))
        assert not family(images, ~hidden).equal(family(changed, ~hidden))


def test_without_a_mask_it_is_timm_itself(family: MaskedEncoder) -> None:
    images, _, hidden = images_and_mask(family)
    with torch.no_grad():
        ours = family(images, torch.zeros_like(hidden))
        theirs = family.backbone.forward_intermediates(images, indices=1, norm=True, intermediates_only=True)[0]
    assert ours.shape == (3, family.channels, 64 // family.stride_px, 64 // family.stride_px)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_with_everything_hidden_all_images_are_the_same(family: MaskedEncoder) -> None:
    images, other, hidden = images_and_mask(family)
    everything = torch.ones_like(hidden)
    with torch.no_grad():
        features = family(images, everything)
        assert features.equal(family(other, everything))
        family.mask_token.data += 1
        assert not features.equal(family(images, everything)), "what is seen is the token"
        family.mask_token.data -= 1


def test_activation_checkpointing_changes_no_gradient(family: MaskedEncoder) -> None:
    images, _, hidden = images_and_mask(family)
    again = copy.deepcopy(family)
    for block in again.blocks:
        recompute(block)
    for one in (family, again):
        one.train()(images, hidden).square().mean().backward()
    family.eval()
    gradients = [[each.grad for each in one.parameters() if each.grad is not None] for one in (family, again)]
    assert len(gradients[0]) == len(gradients[1]) > 10
    assert all(kept.equal(computed) for kept, computed in zip(*gradients, strict=True))
    assert all(kept.equal(other) for kept, other in zip(family.buffers(), again.buffers(), strict=True))


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("channels", [1, 5])
def test_any_number_of_channels(name: str, channels: int) -> None:
    encoder = small(name, channels)
    images, _, hidden = images_and_mask(encoder, channels)
    with torch.no_grad():
        assert encoder(images, hidden).isfinite().all()


def test_layer_scale_of_the_vit_starts_at_a_tenth() -> None:
    backbone: Any = small("vit").backbone
    assert (backbone.blocks[0].gamma_1 == 0.1).all()


@pytest.mark.parametrize(
    ("name", "size", "millions"),
    [
        ("swin_tiny_window6", 192, 28.3 - 0.769),
        ("swin_small_window6", 192, 49.6 - 0.769),
        ("swin_base_window6", 192, 87.8 - 1.025),
        ("swin_large_window12", 192, 196.7 - 1.537),
        ("swinv2_tiny_window12", 192, 28.35 - 0.769),
        ("swinv2_base_window12", 192, 87.92 - 1.025),
        ("swinv2_large_window12", 192, 196.74 - 1.537),
        ("swinv2_huge_window12", 192, 658 - 2.817),
        ("swinv2_giant_window12", 192, 3000),
        ("swinv2_giant_modelhub_window12", 192, 1060),
        ("simmim_vit_base", 224, 86 - 0.3),
        ("simmim_vit_large", 224, 304 - 0.8),
        ("resnet50", 192, 25.557 - 2.049),
    ],
)
def test_named_encoders_have_the_published_sizes(name: str, size: int, millions: float) -> None:
    """Parameters with a classifier of 1000 classes, less the classifier (the SwinV2 paper rounds G to 3.0B; Swin's and
    SwinV2's papers, timm's tables for the others), to half a percent: windows and layer scale differ a little."""
    with torch.device("meta"):
        encoder = build_masked_encoder(find_architecture(name), size, 0.0)
        side = size // encoder.patch_size_px
        hidden = torch.zeros(1, side, side, dtype=torch.bool)
        grid = size // encoder.stride_px
        assert encoder(torch.zeros(1, 3, size, size), hidden).shape == (1, encoder.channels, grid, grid)
    count = sum(parameter.numel() for parameter in encoder.backbone.parameters()) / 1e6
    assert count == pytest.approx(millions, rel=5e-3)


def test_drop_path_reaches_the_backbone() -> None:
    """SimMIM's ViT and SwinV2 are pretrained with 0.1, growing linearly over the blocks."""
    encoder = build_masked_encoder(find_architecture("simmim_vit_base").with_arguments(**SMALL_VIT), 64, 0.1)
    rates = [getattr(block.drop_path1, "drop_prob", 0.0) for block in encoder.backbone.blocks]  # type: ignore[union-attr]
    assert rates == pytest.approx([0.0, 0.05, 0.1])


def test_resnet_is_built_without_an_image_size_and_runs_at_any() -> None:
    encoder = small("resnet")
    theirs = timm.create_model("resnet50", num_classes=0)
    assert encoder.backbone.state_dict().keys() == theirs.state_dict().keys()
    with torch.no_grad():
        assert encoder(torch.zeros(1, 3, 96, 96), torch.zeros(1, 96, 96, dtype=torch.bool)).shape == (1, 2048, 3, 3)


def test_other_families_are_refused_by_name() -> None:
    with pytest.raises(UserError, match="efficientnet_b0"):
        build_masked_encoder(Architecture(name="efficientnet_b0"), 224, 0.0)


def test_patches_that_are_no_squares_are_refused() -> None:
    sizes = {"embed_dim": 16, "depths": [1, 1], "num_heads": [1, 2], "window_size": 4, "patch_size": [4, 2]}
    with pytest.raises(UserError, match=r"patch_size = \[4, 2\]"):
        build_masked_encoder(Architecture(name="swin_tiny_patch4_window7_224", arguments=sizes), 64, 0.0)


def test_misspelt_architecture_gets_a_suggestion() -> None:
    with pytest.raises(UserError, match="Did you mean swin_base"):
        build_masked_encoder(Architecture(name="swin_bas_patch4_window7_224"), 224, 0.0)
