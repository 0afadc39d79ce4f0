"""Dense features of Swin and SwinV2 against independent implementations that pad, then roll."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torchvision.models.swin_transformer import (
    PatchMergingV2,
    SwinTransformer,
    SwinTransformerBlockV2,
)

from benchmarks.encoders import Architecture
from tests.support.libraries import library
from tests.support.random_weights import randomise
from tests.transfer.encoder.witnesses import (
    DEPTHS,
    HEADS,
    SIZES,
    WIDTH,
    copy_mmseg,
    copy_torchvision,
    copy_transformers_swin,
    copy_transformers_swinv2,
    difference,
    images,
    torchvision_maps,
)
from transfer.encoder.dense import Encoder, build_encoder

SMALL = {"embed_dim": WIDTH, "depths": DEPTHS, "num_heads": HEADS}
SWIN = Architecture(name="swin_tiny_patch4_window7_224", arguments=SMALL)
SWINV2 = Architecture(name="swinv2_tiny_window8_256", arguments=SMALL)
LIMIT = 1e-5


def encoder(architecture: Architecture, **options: Any) -> Encoder:
    return build_encoder(architecture, **options).eval()


def maps(ours: Encoder, height: int, width: int) -> list[torch.Tensor]:
    with torch.no_grad():
        return ours.features(images(height, width))


@pytest.mark.parametrize("size", [(224, 224), (256, 256), *SIZES])
@pytest.mark.parametrize("version", [1, 2])
def test_torchvision(version: int, size: tuple[int, int]) -> None:
    """torchvision drops the shift along a side that one window covers."""
    window = 7 if version == 1 else 8
    kind: Any = {} if version == 1 else {"block": SwinTransformerBlockV2, "downsample_layer": PatchMergingV2}
    theirs = SwinTransformer([4, 4], WIDTH, DEPTHS, HEADS, [window, window], **kind).eval()
    randomise(theirs)
    ours = encoder(SWIN if version == 1 else SWINV2, shift_single_windows=False)
    copy_torchvision(ours.backbone, theirs)
    assert difference(maps(ours, *size), torchvision_maps(theirs, images(*size))) < LIMIT
    shifted = Encoder(ours.backbone).eval()
    assert difference(maps(shifted, *size), maps(ours, *size)) > 1e-2 or min(size) > 32 * window


@pytest.mark.parametrize("size", [(224, 224), *SIZES])
def test_transformers_swin(size: tuple[int, int]) -> None:
    transformers = library("transformers", "transformers")
    config = transformers.SwinConfig(**_transformers(image_size=224, window_size=7))
    theirs = transformers.SwinBackbone(config).eval()
    randomise(theirs)
    for stage in theirs.hidden_states_norms:
        theirs.hidden_states_norms[stage] = torch.nn.Identity()
    ours = encoder(SWIN)
    copy_transformers_swin(ours.backbone, theirs)
    with torch.no_grad():
        expected = theirs(images(*size)).feature_maps
    assert difference(maps(ours, *size), list(expected)) < LIMIT


@pytest.mark.parametrize("size", [(256, 256), *SIZES])
def test_transformers_swinv2(size: tuple[int, int]) -> None:
    """transformers drops shifts where the map at `image_size` is one window; at 1024 pixels no map is."""
    transformers = library("transformers", "transformers")
    config = transformers.Swinv2Config(**_transformers(image_size=1024, window_size=8))
    theirs = transformers.Swinv2Backbone(config).eval()
    randomise(theirs)
    ours = encoder(SWINV2)
    copy_transformers_swinv2(ours.backbone, theirs)
    with torch.no_grad():
        expected = theirs(images(*size)).feature_maps
    assert difference(maps(ours, *size), list(expected)) < LIMIT


def _transformers(**arguments: Any) -> dict[str, Any]:
    shape = {"embed_dim": WIDTH, "depths": DEPTHS, "num_heads": HEADS, "layer_norm_eps": 1e-5}
    return {**shape, "out_features": [f"stage{stage}" for stage in range(1, 5)], **arguments}


@pytest.mark.parametrize("size", [(224, 224), *SIZES])
def test_mmseg(size: tuple[int, int]) -> None:
    swin = library("mmseg.models.backbones.swin", "onedl-mmsegmentation")
    theirs = swin.SwinTransformer(embed_dims=WIDTH, depths=DEPTHS, num_heads=HEADS, window_size=7)
    theirs.eval()  # returns nothing
    randomise(theirs)
    for stage in range(4):
        setattr(theirs, f"norm{stage}", torch.nn.Identity())
    ours = encoder(SWIN)
    copy_mmseg(ours.backbone, theirs)
    with torch.no_grad():
        expected = theirs(images(*size))
    assert difference(maps(ours, *size), list(expected)) < LIMIT


def test_timms_own_forward_is_wrong_off_the_window_grid_and_right_on_it() -> None:
    """This is why dense features do not use it. At 448 pixels each map is a multiple of the window, and larger."""
    ours = encoder(SWIN)
    randomise(ours)
    timm: Any = ours.backbone
    timm.set_input_size(img_size=(448, 448), window_size=7)
    with torch.no_grad():
        assert (
            difference(maps(ours, 448, 448), timm.forward_intermediates(images(448, 448), intermediates_only=True))
            < LIMIT
        )
        timm.set_input_size(img_size=(200, 332), window_size=7)
        theirs = timm.forward_intermediates(images(200, 332), intermediates_only=True)
    assert difference(maps(ours, 200, 332), theirs) > 0.1
