"""Inflation: a clip of one repeated image has the image's features at every time step; nothing is left out silently."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from pydantic import JsonValue
from torch import Tensor

from benchmarks.encoders import Architecture
from benchmarks.engine.backbone import build_backbone
from tests.support.random_weights import randomise
from transfer.encoder.dense import build_encoder
from transfer.encoder.proof.loading import load_encoder
from transfer.video.inflate import TimeSizes, build_swin3d, inflate, timm_name

SMALL: dict[str, JsonValue] = {"embed_dim": 16, "depths": [2, 2, 2, 2], "num_heads": [1, 2, 4, 8]}


def architecture(window: int | tuple[int, int]) -> Architecture:
    arguments: dict[str, JsonValue] = {**SMALL, "window_size": list(window) if isinstance(window, tuple) else window}
    return Architecture(name="swin_tiny_patch4_window7_224", arguments=arguments)


def swin(window: int | tuple[int, int], side: int) -> Any:
    flat: Any = build_backbone(architecture(window), side, whole_windows=False).eval()
    randomise(flat)
    return flat


def swin3d(flat: Any, time: TimeSizes) -> Any:
    model = build_swin3d(flat, time).eval()
    report = load_encoder(model, inflate(flat.state_dict(), time).weights, "timm")
    assert (report.complete, report.loaded, report.coverage_percent) == (True, report.expected, 100)
    return model


@torch.no_grad()
def tokens(model: Any, clips: Tensor) -> Tensor:
    found: Tensor = model.norm(model.features(model.patch_embed(clips)))
    return found


@pytest.mark.parametrize(
    ("window", "side", "frames", "time"),
    [
        (4, 32, 8, TimeSizes(2, 8)),  # fewer steps than a window; maps smaller than the window
        (4, 64, 8, TimeSizes(2, 4)),  # one window of time
        (4, 64, 24, TimeSizes(2, 4)),  # several, shifted
        (7, 224, 8, TimeSizes(2, 2)),
        (6, 192, 3, TimeSizes(1, 3)),
        ((2, 4), 64, 4, TimeSizes(2, 2)),  # rows and columns differ
        (4, 64, 1, TimeSizes(1, 1)),  # an image
    ],
)
def test_a_static_clip_has_the_images_features_at_every_step(
    window: int | tuple[int, int], side: int, frames: int, time: TimeSizes
) -> None:
    flat = swin(window, side)
    images = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1))
    found = tokens(swin3d(flat, time), images.unsqueeze(2).repeat(1, 1, frames, 1, 1))
    with torch.no_grad():
        expected = flat.forward_features(images)  # timm's own code
    assert found.shape[1] == frames // time.patch
    assert expected.std() > 0.1, "features worth comparing"
    torch.testing.assert_close(found, expected.unsqueeze(1).expand_as(found), rtol=0, atol=1e-4)


def test_maps_of_any_size_agree_with_the_dense_encoder() -> None:
    """Where maps are no multiples of the window but larger, official code pads first, as our dense features do."""
    dense: Any = build_encoder(architecture(7), 224, shift_single_windows=False).eval()
    randomise(dense)
    images = torch.randn(1, 3, 240, 330, generator=torch.Generator().manual_seed(1))
    found = tokens(swin3d(dense.backbone, TimeSizes(2, 2)), images.unsqueeze(2).repeat(1, 1, 4, 1, 1))
    with torch.no_grad():
        last = dense.features(images)[-1].permute(0, 2, 3, 1)
        expected = dense.backbone.norm(last)
    torch.testing.assert_close(found, expected.unsqueeze(1).expand_as(found), rtol=0, atol=1e-4)


def test_every_step_sees_the_others() -> None:
    model, clip = swin3d(swin(4, 32), TimeSizes(2, 8)), torch.randn(1, 3, 8, 32, 32)
    other = clip.clone()
    other[:, :, -2:] = torch.randn(1, 3, 2, 32, 32)
    assert (tokens(model, clip) - tokens(model, other))[:, 0].abs().max() > 0.01


def test_grown_tensors_are_numpys_and_all_others_the_same_bits() -> None:
    flat, time = swin(4, 64), TimeSizes(2, 8)
    inflated, before = inflate(flat.state_dict(), time), flat.state_dict()
    assert len(inflated.weights) == len(before)
    grown = {each.name: each for each in inflated.resized}
    tables = [name for name in before if name.endswith("relative_position_bias_table")]
    assert len(grown) == 1 + len(tables) == 9
    for name, tensor in inflated.weights.items():
        source = before[timm_name(name)].numpy()
        if name == "patch_embed.proj.weight":
            source = np.stack([source / 2, source / 2], axis=2)
            assert "repeated over 2 frames and divided" in grown[name].mode
        elif name in grown:
            source = np.tile(source, (15, 1))
            assert "15 differences in time" in grown[name].mode
        np.testing.assert_array_equal(tensor.numpy(), source)


def test_every_tensor_of_torchvisions_published_model_has_a_place() -> None:
    """Swin-B at 224 px makes the shapes of swin3d_b, whose weights are published."""
    from torchvision.models.video import Swin3D_B_Weights, swin3d_b

    with torch.device("meta"):
        flat: Any = build_backbone(Architecture(name="swin_base_patch4_window7_224"), 224)
        published = {name: tensor.shape for name, tensor in swin3d_b().state_dict().items() if "head" not in name}
        ours = build_swin3d(flat, TimeSizes(2, 8))
    assert {name: tensor.shape for name, tensor in ours.state_dict().items()} == published
    parameters = sum(each.numel() for each in ours.parameters()) + (1024 + 1) * 400
    assert parameters == Swin3D_B_Weights.KINETICS400_V1.meta["num_params"]
