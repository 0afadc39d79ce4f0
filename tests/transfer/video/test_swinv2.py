"""SwinV2 with an axis of time: a clip of one repeated image has the image's features, and time steps see each other."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import JsonValue
from torch import Tensor

from benchmarks.encoders import Architecture
from benchmarks.engine.backbone import build_backbone
from benchmarks.errors import UserError
from tests.support.random_weights import randomise
from tests.transfer.video.models import build, clips, recipe
from transfer.video.inflate import TimeSizes
from transfer.video.model import FramePooling, SwinV2In3d, groups_of
from transfer.video.swinv2 import SwinV2Clips

SMALL: dict[str, JsonValue] = {"embed_dim": 16, "depths": [2, 2, 2, 2], "num_heads": [1, 2, 4, 8]}
SWINV2 = "random:swinv2_tiny_window8_256"


def swinv2(window: int, side: int, before: int = 0) -> Any:
    arguments: dict[str, JsonValue] = {**SMALL, "window_size": window, "pretrained_window_sizes": [before] * 4}
    found = Architecture(name="swinv2_tiny_window8_256", arguments=arguments)
    flat: Any = build_backbone(found, side, whole_windows=False).eval()
    randomise(flat)
    return flat


def images(side: int) -> Tensor:
    return torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("flat", "frames", "time"),
    [
        ((4, 32), 8, TimeSizes(2, 8)),  # fewer steps than a window; maps smaller than the window
        ((4, 64), 8, TimeSizes(2, 4)),  # one window of time
        ((4, 64), 24, TimeSizes(2, 4)),  # several, shifted
        ((4, 64), 10, TimeSizes(1, 4)),  # steps that fill no whole windows
        ((8, 64, 12), 8, TimeSizes(2, 2)),  # offsets in units of another window
        ((4, 64), 1, TimeSizes(1, 1)),  # an image
    ],
)
@torch.no_grad()
def test_a_static_clip_has_the_images_features_at_every_step(
    flat: tuple[int, ...], frames: int, time: TimeSizes
) -> None:
    model, side = swinv2(*flat), flat[1]
    expected = model.forward_features(images(side))  # timm's own code
    found = SwinV2Clips(model, time, frames)(images(side).unsqueeze(2).repeat(1, 1, frames, 1, 1))
    assert found.shape[1] == frames // time.patch
    assert expected.std() > 0.1, "features worth comparing"
    torch.testing.assert_close(found, expected.unsqueeze(1).expand_as(found), rtol=0, atol=1e-5)


@torch.no_grad()
def test_steps_see_each_other_and_their_order_once_the_offset_in_time_counts() -> None:
    model, clip = SwinV2Clips(swinv2(4, 32), TimeSizes(2, 8), 8), torch.randn(1, 3, 8, 32, 32)
    backwards = clip.unflatten(2, (4, 2)).flip(2).flatten(2, 3)
    torch.testing.assert_close(model(clip).mean((1, 2, 3)), model(backwards).mean((1, 2, 3)), rtol=0, atol=1e-5)
    other = clip.clone()
    other[:, :, -2:] = torch.randn(1, 3, 2, 32, 32)
    assert (model(clip) - model(other))[:, 0].abs().max() > 0.01
    for stage in model.layers:
        for block in stage.blocks:
            block.attn.cpb_mlp[0].weight[:, 0] = torch.randn(512)
    assert (model(clip) - model(backwards)).mean((1, 2, 3)).abs().max() > 1e-3


def test_the_bias_of_a_pair_is_the_networks_answer_to_its_offset() -> None:
    """Written out pair by pair, by SwinV2's formula 4, for a window of 3 steps, 2 rows and 2 columns."""
    block = SwinV2Clips(swinv2(2, 32), TimeSizes(1, 3), 3).layers[0].blocks[0]
    attention = block.attn
    assert block.window == (3, 2, 2)
    with torch.no_grad():
        attention.cpb_mlp[0].weight[:, 0] = torch.randn(512)
        bias = attention.bias()
        places = [(t, row, column) for t in range(3) for row in range(2) for column in range(2)]
        for i, one in enumerate(places):
            for j, other in enumerate(places):
                scaled = [8 * (a - b) / side for a, b, side in zip(one, other, (2, 1, 1), strict=True)]
                offset = torch.tensor(
                    [(1 if x > 0 else -1) * torch.log2(torch.tensor(abs(x) + 1.0)) / 3 for x in scaled]
                )
                expected = 16 * torch.sigmoid(attention.cpb_mlp(offset))
                torch.testing.assert_close(bias[:, i, j], expected, rtol=0, atol=1e-5)


def test_it_is_asked_for_and_trains_every_parameter() -> None:
    chosen = recipe("temporal=swinv2_3d", "window_size=4")
    loaded = build(SWINV2, chosen)
    encoder = loaded.model.encoder
    assert isinstance(encoder, SwinV2In3d)
    assert encoder.flat is None
    assert [each.mode.split(":")[0] for each in loaded.report.resized] == ["inflated"] * 13  # the kernel and 12 blocks
    assert loaded.report.parameters == sum(each.numel() for each in encoder.parameters())
    randomise(encoder)  # of SwinV2's initial weights, norms let nothing through
    loaded.model(clips()).square().sum().backward()
    assert [name for name, each in encoder.named_parameters() if each.grad is None or not each.grad.abs().sum()] == []
    flat = FramePooling(build(SWINV2, recipe("window_size=4")).model.encoder.flat, loaded.report)
    assert encoder.layers().count == flat.layers().count
    for name, _ in encoder.swin.named_parameters():
        assert encoder.layers().of(f"swin.{name}") == flat.layers().of(f"backbone.{name}"), name
    groups = groups_of(loaded.model, recipe("temporal=swinv2_3d", "layer_decay=0.5"))
    assert sum(len(group["params"]) for group in groups) == len(list(loaded.model.parameters()))


def test_without_being_asked_for_frames_are_pooled() -> None:
    assert isinstance(build(SWINV2, recipe("window_size=4")).model.encoder, FramePooling)
    with pytest.raises(UserError, match=r"(?s)temporal = swinv2_3d\n.*for a Swin.* is none\n.*temporal=swin3d or"):
        build("random:digits_swin", recipe("temporal=swinv2_3d"))
