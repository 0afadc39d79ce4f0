"""Linear depth against what the code of its authors computes from the same weights and values.

`fixtures/dinov2_depth.json` holds what facebookresearch/dinov2 (commit b8931f7) returns with the weights of `fill` and
the images of `waves`: `DinoVisionTransformer.get_intermediate_layers`, `BNHead`, `DepthEncoderDecoder.aug_test`,
`SigLoss`, `GradientLoss`; and zhyever/Monocular-Depth-Estimation-Toolbox (d8aff50) `NYUDataset.eval_mask`, `metrics`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks.config import load_recipe
from benchmarks.encoders import Architecture
from tests.support.waves import SMALL_VIT, fill
from transfer.depth.losses import grouped_loss, scale_invariant
from transfer.depth.model import Depther, DepthHead, estimated
from transfer.depth.recipe import LinearDepthRecipe
from transfer.depth.scores import METRICS, DepthScores, image_score
from transfer.encoder.dense import build_encoder
from transfer.encoder.frozen_maps import FrozenMaps, spread

THERE: dict[str, Any] = json.loads((Path(__file__).parent / "fixtures" / "dinov2_depth.json").read_text())


def recipe(*overrides: str) -> LinearDepthRecipe:
    return load_recipe(LinearDepthRecipe, "transfer", "nyuv2_depth_linear_dinov2", overrides).config


def waves() -> Tensor:
    return torch.sin(torch.arange(2 * 3 * 40 * 37, dtype=torch.float64) * 0.37).float().reshape(2, 3, 40, 37)


def true_depths() -> Tensor:
    found = 5 + 4.9 * torch.sin(torch.arange(2 * 40 * 37, dtype=torch.float64) * 0.11).float().reshape(2, 40, 37)
    found[:, ::7, ::5] = 0
    return found


def wrong_depths() -> Tensor:
    return 3 + 2.5 * torch.cos(torch.arange(2 * 40 * 37, dtype=torch.float64) * 0.05).float().reshape(2, 40, 37)


@pytest.mark.parametrize("maps", [1, 2])
@pytest.mark.parametrize("normed", [False, True])
def test_depths_are_those_of_dinov2s_own_head_encoder_and_test(maps: int, normed: bool) -> None:
    encoder = build_encoder(Architecture(name="vit_tiny_patch16_224", arguments=SMALL_VIT), 42)
    fill(encoder.backbone)
    frozen = FrozenMaps(encoder, maps, evenly=True, normed=normed, class_token=True)
    own = recipe("bins=16", f"maps={maps}")
    head = DepthHead(frozen.channels, own)
    fill(head)
    model, expected = Depther(frozen, head).eval(), THERE[f"{maps} {'normed' if normed else 'raw'}"]
    with torch.no_grad():
        found = model(waves())
        assert list(found.shape) == expected["shape"]
        assert found.flatten().tolist()[::3] == pytest.approx(expected["depths"], abs=2e-5)
        tested = torch.cat([estimated(model, image[None], own).flatten() for image in waves()])
    assert tested.tolist()[::7] == pytest.approx(expected["tested"], abs=2e-5)


def test_the_loss_is_dinov2s_and_its_gradient_loss_is_zero_for_the_two_images_of_a_gpu() -> None:
    there = THERE["losses"]
    for when, warming_up in (("warming_up", True), ("then", False)):
        loss = scale_invariant(wrong_depths(), true_depths(), warming_up=warming_up)
        assert loss.item() == pytest.approx(there[when], rel=1e-5)
    assert there["gradient_of_two"] == 0
    assert there["gradient_of_four"] > 0


def test_batches_are_the_mean_of_the_losses_of_dinov2s_gpus() -> None:
    predicted, true = torch.cat([wrong_depths(), wrong_depths() + 1]), true_depths().repeat(2, 1, 1)
    both = [scale_invariant(predicted[at : at + 2], true[at : at + 2], warming_up=False) for at in (0, 2)]
    loss = grouped_loss(predicted, true, 2, warming_up=False)
    assert loss.item() == pytest.approx((both[0].item() + both[1].item()) / 2)
    assert grouped_loss(predicted, true * 0, 2, warming_up=False) == 0, "nothing is known"


def test_scores_are_those_of_the_toolbox_in_eigens_crop() -> None:
    at, rows = np.arange(480 * 640), []
    for number, (pixels, *expected) in enumerate(THERE["metrics"], start=1):
        true = (5 + 5.5 * np.sin(at * 0.0113 * number)).astype(np.float32).reshape(480, 640)
        true[::7, ::5] = 0
        predicted = (5 + 4.5 * np.cos(at * 0.0049 * number)).astype(np.float32).reshape(480, 640)
        found = image_score(number, torch.from_numpy(predicted), torch.from_numpy(np.maximum(true, 0)), recipe())
        assert found is not None
        assert found.pixels == pixels
        assert [each / 100 for each in found[2:4]] == pytest.approx(expected[:2], rel=1e-5), "metres and shares there"
        assert [each / 100 for each in found[4:]] == pytest.approx(expected[2:], abs=1e-7)
        rows.append(found)
    means = DepthScores(rows).metrics()
    assert means["rmse"] == pytest.approx(100 * np.mean([row[1] for row in THERE["metrics"]]), rel=1e-5)
    assert tuple(means) == METRICS


def test_blocks_are_those_that_dinov2_takes() -> None:
    there = {12: [2, 5, 8, 11], 24: [4, 11, 17, 23], 40: [9, 19, 29, 39]}
    assert {blocks: [number - 1 for number in spread(4, blocks)] for blocks in there} == there
    assert spread(1, 12) == [12]


def test_the_recipes_are_of_one_and_four_layers() -> None:
    four = load_recipe(LinearDepthRecipe, "transfer", "nyuv2_depth_linear4_dinov2").config
    assert four == recipe("maps=4")
    assert (recipe().maps, recipe().bins, recipe().upsample, recipe().normed) == (1, 256, 4, False)
