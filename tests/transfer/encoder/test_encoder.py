"""One encoder object: any size, four levels, and classification that dense features do not touch."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch

from benchmarks.encoders import Architecture, find_architecture
from benchmarks.engine.backbone import build_backbone
from benchmarks.errors import UserError
from benchmarks.families.blocks import recompute
from benchmarks.families.table import family_of
from tests.support.random_weights import randomise
from tests.transfer.encoder.witnesses import SIZES, images
from transfer.encoder.dense import Encoder, build_encoder

DIGITS = find_architecture("digits_swin")
SWINV2 = Architecture(
    name="swinv2_tiny_window8_256", arguments={"embed_dim": 16, "depths": [2, 2, 2, 2], "num_heads": [1, 2, 4, 8]}
)
VIT = Architecture(name="vit_tiny_patch16_224", arguments={"embed_dim": 24, "depth": 2, "num_heads": 3})
BEIT = Architecture(
    name="beit_base_patch16_224",
    arguments={"embed_dim": 24, "depth": 2, "num_heads": 3, "use_rel_pos_bias": True, "init_values": 0.1},
)
ALL = [(DIGITS, 64), (SWINV2, 256), (VIT, 224), (BEIT, 224)]


def encoder(architecture: Architecture, side: int | None = None, **options: Any) -> Encoder:
    built = build_encoder(architecture, side, **options).eval()
    randomise(built)
    return built


@pytest.mark.parametrize(("architecture", "side"), ALL[:2])
@pytest.mark.parametrize("size", [(1, 1), (64, 64), *SIZES])
def test_four_levels_at_any_size(architecture: Architecture, side: int, size: tuple[int, int]) -> None:
    ours = encoder(architecture, side)
    assert ours.strides == (4, 8, 16, 32)
    width = architecture.arguments["embed_dim"]
    assert isinstance(width, int)
    assert ours.channels == (width, 2 * width, 4 * width, 8 * width)
    with torch.no_grad():
        found = ours.features(images(*size))
    assert [tuple(item.shape) for item in found] == [
        (2, channels, -(-size[0] // stride), -(-size[1] // stride))
        for channels, stride in zip(ours.channels, ours.strides, strict=True)
    ]


@pytest.mark.parametrize(("architecture", "side"), ALL)
def test_dense_features_leave_classification_alone(architecture: Architecture, side: int) -> None:
    """Bit-identical to plain timm before and after dense use, in every tensor and every attribute of every module."""
    ours = encoder(architecture, side)
    plain: Any = build_backbone(architecture, side).eval()
    plain.load_state_dict(ours.backbone.state_dict())
    batch, before = images(side, side), attributes(ours.backbone)
    with torch.no_grad():
        expected = plain.forward_features(batch)
        assert ours.forward_features(batch).equal(expected)
        ours.features(images(101, 157))
        ours.features(batch)
        assert ours.forward_features(batch).equal(expected)
    assert attributes(ours.backbone) == before
    assert all(tensor.equal(plain.state_dict()[name]) for name, tensor in ours.backbone.state_dict().items())


def attributes(model: torch.nn.Module) -> dict[str, str]:
    """Return the plain attributes of every module (sizes, windows, shifts, flags), and the shapes of its buffers."""
    found = {
        f"{name}.{key}": repr(value)
        for name, module in model.named_modules()
        for key, value in vars(module).items()
        if not key.startswith("_") and not callable(value)
    }
    return found | {name: repr(buffer.shape) for name, buffer in model.named_buffers()}


@pytest.mark.parametrize(("architecture", "side"), ALL)
def test_every_weight_but_the_last_norm_learns(architecture: Architecture, side: int) -> None:
    ours = encoder(architecture, side).train()
    sum(found.square().mean() for found in ours.features(images(101, 157))).backward()
    without = {name for name, parameter in ours.backbone.named_parameters() if parameter.grad is None}
    assert without <= {"norm.weight", "norm.bias", "fc_norm.weight", "fc_norm.bias"}


@pytest.mark.parametrize(("architecture", "side"), ALL)
def test_recomputing_activations_changes_nothing(architecture: Architecture, side: int) -> None:
    ours = encoder(architecture, side).train()
    again = copy.deepcopy(ours)
    for block in family_of(again.backbone).blocks():
        recompute(block)
    for one in (ours, again):
        sum(found.square().mean() for found in one.features(images(50, 70))).backward()
    for mine, other in zip(ours.parameters(), again.parameters(), strict=True):
        assert (mine.grad is None) == (other.grad is None)
        assert mine.grad is None or (other.grad is not None and mine.grad.allclose(other.grad))


@pytest.mark.parametrize(("architecture", "side"), ALL)
def test_a_copy_is_whole(architecture: Architecture, side: int) -> None:
    """Averages of weights copy the model, and workers pickle it: neither may go on using the original."""
    ours = encoder(architecture, side)
    for twin in (copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))):  # noqa: S301 (our own bytes)
        with torch.no_grad():
            assert all(a.equal(b) for a, b in zip(twin(images(50, 70)), ours(images(50, 70)), strict=True))
            for parameter in twin.parameters():
                parameter.zero_()
            assert not any(found.any() for found in twin(images(50, 70)))
            assert all(found.any() for found in ours(images(50, 70)))


def test_stochastic_depth_is_passed_on() -> None:
    ours = encoder(DIGITS, 64, drop_path_rate=0.5)
    with torch.no_grad():
        batch = images(64, 64)
        assert ours(batch)[3].equal(ours(batch)[3])
        ours.train()
        assert not ours(batch)[3].equal(ours(batch)[3])


def test_a_size_that_timm_gets_wrong_is_for_dense_features_only() -> None:
    ours = encoder(DIGITS, 72)
    with pytest.raises(UserError, match="multiples of the window"):
        ours.forward_features(images(72, 72))
    with pytest.raises(UserError, match="image_size_px = 72"):
        build_backbone(DIGITS, 72)
    with torch.no_grad():
        assert len(ours.features(images(72, 72))) == 4


def test_full_size_encoders_at_a_detectors_size() -> None:
    """They run on the meta device, without memory or arithmetic, which refuses tensors of any other device."""
    for name, channels in (
        ("swin_large_patch4_window12_384", (192, 384, 768, 1536)),
        ("swinv2_base_window16_256", (128, 256, 512, 1024)),
        ("vit_large_patch16_224", (1024,)),
        ("beit_large_patch16_224", (1024,)),
    ):
        with torch.device("meta"):
            ours, batch = build_encoder(Architecture(name=name)), torch.empty(1, 3, 800, 1333)
        found = ours.features(batch)
        assert ours.channels == channels
        expected = [(1, size, 800 // s, -(-1333 // s)) for size, s in zip(channels, ours.strides, strict=True)]
        assert [(*item.shape,) for item in found] == expected
        assert all(item.is_meta for item in found)


def test_a_stage_keeps_the_window_of_its_table() -> None:
    """SimMIM's SwinV2: window 12 at 192 pixels, where the last map has 6 tokens a side and so has its window."""
    ours = encoder(Architecture(name=SWINV2.name, arguments={**SWINV2.arguments, "window_size": 12}), 192)
    backbone: Any = ours.backbone
    assert [stage.blocks[0].attn.window_size for stage in backbone.layers] == [(12, 12)] * 3 + [(6, 6)]
    with torch.no_grad():
        assert [tuple(found.shape[2:]) for found in ours(images(200, 333))] == [(50, 84), (25, 42), (13, 21), (7, 11)]


def test_mixed_precision() -> None:
    for architecture, side in ALL:
        ours = encoder(architecture, side)
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
            assert all(bool(found.isfinite().all()) for found in ours(images(101, 157)))


@pytest.mark.parametrize("name", ["vit_tiny_r_s16_p8_224", "crossvit_tiny_240", "levit_128s"])
def test_what_has_no_maps_here_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="feature maps of strides 4, 8, 16 and 32, or whose last is of stride 16"):
        build_encoder(Architecture(name=name))
