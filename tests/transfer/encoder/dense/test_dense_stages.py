"""Swins of other than four stages: maps of stride 16 or of the four strides where they have them, else a refusal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import mimbench
from benchmarks.encoders import Architecture
from benchmarks.errors import UserError
from benchmarks.families.table import family_of
from tests.transfer.checkpoint.encoders import export
from transfer.encoder.dense import build_encoder
from transfer.encoder.frozen_maps import FrozenMaps

NAMES = ("swin_tiny_patch4_window7_224", "swinv2_tiny_window8_256", "swinv2_cr_tiny_224")


def of_stages(count: int, name: str = NAMES[0], **more: Any) -> Architecture:
    """Return an architecture whose maps are multiples of its windows for images of 128 px."""
    heads = [1, 2, 4, 8, 16][:count]
    sizes: dict[str, Any] = {"embed_dim": 16, "depths": [1] * count, "num_heads": heads, "window_size": 4}
    if name == "swinv2_tiny_window8_256":
        sizes["pretrained_window_sizes"] = [0] * count
    return Architecture(name=name, arguments={**sizes, **more})


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("stages", "strides"), [(3, (16,)), (4, (4, 8, 16, 32)), (5, (4, 8, 16, 32))])
def test_maps_are_timms_at_their_strides(name: str, stages: int, strides: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    side = 256 if stages == 5 else 128
    ours = build_encoder(of_stages(stages, name, img_size=side), shift_single_windows=False).eval()
    images = torch.rand(1, 3, side, side)
    with torch.no_grad():
        found = ours(images)
        every = ours.backbone.forward_intermediates(images, intermediates_only=True)  # type: ignore[operator]
    by_stride = {side // each.shape[2]: each for each in every}
    assert len(by_stride) == stages
    assert ours.strides == strides
    for ours_at, stride in zip(found, strides, strict=True):
        torch.testing.assert_close(ours_at, by_stride[stride], rtol=1e-4, atol=1e-5)
    sum(each.sum() for each in ours.train()(images)).backward()
    unused = {name for name, each in ours.backbone.named_parameters() if each.grad is None}
    assert unused == family_of(ours.backbone).beside_maps()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("stages", "more", "has"), [(2, {}, "4, 8"), (3, {"patch_size": 2}, "2, 4, 8")])
def test_what_has_no_map_of_stride_16_says_which_it_has(
    name: str, stages: int, more: dict[str, Any], has: str, tmp_path: Path
) -> None:
    export(of_stages(stages, name, img_size=64, **more), tmp_path)
    encoder = mimbench.load(tmp_path)
    assert encoder.pooled(torch.rand(1, 3, 64, 64)).shape == (1, 16 * 2 ** (stages - 1))
    for call in (
        lambda: encoder.features(torch.rand(1, 3, 64, 64)),
        lambda: encoder.strides,
        lambda: encoder.map_sizes,
    ):
        with pytest.raises(
            UserError, match=rf"strides 4, 8, 16 and 32, or whose last is of stride 16 .*: {has}\)"
        ) as caught:
            call()
        assert "remedy: another encoder" in str(caught.value)


def test_stages_are_no_blocks_of_one_size_for_a_frozen_head() -> None:
    encoder = build_encoder(of_stages(3, img_size=64))
    (found,) = FrozenMaps(encoder, 1)(torch.rand(1, 3, 70, 64))
    assert found.shape == (1, 64, 5, 4)
    with pytest.raises(UserError, match="at most 1, the encoder's maps"):
        FrozenMaps(encoder, 2)
