"""Linear segmentation: DINOv2's own code as the witness, an encoder that does not change, and whole runs.

`fixtures/dinov2_linear.json` holds what facebookresearch/dinov2 (commit b8931f7) computes: CenterPadding of its
notebook, `get_intermediate_layers(reshape=True)` of a DinoVisionTransformer of patch 14, and `BNHead`, all with the
weights of `fill`, of the images of `waves`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import mimbench
from benchmarks.config import load_recipe
from benchmarks.encoders import Architecture
from benchmarks.errors import UserError
from tests.support.runs import last_checkpoint, only_run, record_of, trained
from tests.support.waves import SMALL_VIT, fill
from transfer.encoder.dense import build_encoder
from transfer.encoder.frozen_maps import FrozenMaps, centred
from transfer.segmentation.frozen.linear_head import LinearHead
from transfer.segmentation.model import build_segmenter, fit_batch_norms
from transfer.segmentation.recipe import LinearSegmentationRecipe
from transfer.sources.references import resolve

WITNESS = json.loads((Path(__file__).parent / "fixtures" / "dinov2_linear.json").read_text())
SHORT = [
    "training.steps=4",
    "training.batch_size=4",
    "training.schedule.warmup_steps=1",
    "training.checkpoint_every_steps=2",
    "evaluate_every_steps=4",
]


def waves() -> Tensor:
    return torch.sin(torch.arange(2 * 3 * 40 * 37, dtype=torch.float64) * 0.37).float().reshape(2, 3, 40, 37)


@pytest.mark.parametrize("last", [1, 2])
def test_logits_and_statistics_are_those_of_dinov2s_own_head_and_encoder(last: int) -> None:
    encoder = build_encoder(Architecture(name="vit_tiny_patch16_224", arguments=SMALL_VIT), 42)
    fill(encoder.backbone)
    maps = FrozenMaps(encoder, last)
    head = LinearHead(in_channels=[12] * last, in_index=list(range(last)), channels=12 * last, num_classes=4)
    head.bn = nn.BatchNorm2d(12 * last)
    fill(head)
    expected = WITNESS[str(last)]
    with torch.no_grad():
        for mode in ("evaluating", "training"):
            logits = head.train(mode == "training")(maps(waves()))
            assert list(logits.shape) == expected["shape"]
            assert logits.flatten().tolist() == pytest.approx(expected[mode], abs=2e-5)
    for statistic in ("running_mean", "running_var"):
        assert getattr(head.bn, statistic).tolist() == pytest.approx(expected[statistic], abs=2e-6)


def test_images_are_padded_on_all_four_sides() -> None:
    padded = centred(torch.ones(1, 1, 27, 14), 14)
    assert padded.shape[2:] == (28, 14)
    assert padded[0, 0, -1].sum() == 0, "one more below where it is odd"
    assert padded[0, 0, 0].sum() == 14
    assert centred(torch.ones(1, 1, 24, 14), 14)[0, 0, [0, 1, 26, 27]].tolist() == [[0] * 14] * 4


def segmenter(encoder: str, *overrides: str) -> Any:
    recipe = load_recipe(LinearSegmentationRecipe, "transfer", "digit_scenes_linear", overrides).config
    return build_segmenter(recipe, resolve(encoder), 11, 0)


@pytest.mark.parametrize(("encoder", "last"), [("random:resnet10t", 4), ("random:digits_swin", 2)])
def test_training_leaves_the_encoder_bit_for_bit_also_its_statistics(encoder: str, last: int) -> None:
    built = segmenter(encoder, f"last_maps={last}")
    model = fit_batch_norms(built.model, torch.device("cpu"), 4).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    optimizer = torch.optim.AdamW([each for each in model.parameters() if each.requires_grad], lr=0.1)
    for _ in range(2):
        images = torch.rand(4, 3, 64, 64)
        model(images, mode="tensor").square().mean().backward()
        optimizer.step()
    changed = {name for name, tensor in model.state_dict().items() if not tensor.equal(before[name])}
    head = {"bn.weight", "bn.bias", "bn.running_mean", "bn.running_var", "bn.num_batches_tracked"}
    assert changed == {f"decode_head.{name}" for name in (*head, "conv_seg.weight", "conv_seg.bias")}
    assert any(name.startswith("backbone.") for name in before)


def test_more_maps_than_there_are_is_refused() -> None:
    with pytest.raises(UserError, match="at most 4, the encoder's maps"):
        segmenter("random:digits_swin", "last_maps=5")


def test_a_run_keeps_its_head_alone_and_is_scored_again(small_scenes: Path, tmp_path: Path) -> None:
    command = ["transfer", "digit_scenes", "--recipe", "digit_scenes_linear", f"data.root={small_scenes}", *SHORT]
    folder = trained([*command, "--encoder", "random:digits_swin"], tmp_path / "runs")
    record = record_of(folder)
    assert (record.feature, record.exported_sha256) == ("last 4 stages, joined: all patches", None)
    kept = last_checkpoint(folder).part("model")
    assert {name.partition(".")[0] for name in kept} == {"bn", "conv_seg"}
    further = ["evaluate", "digit_scenes", "--model", str(folder), "--name", "again", f"data.root={small_scenes}"]
    assert mimbench.main([*further, "data.test_split=training"]) == 0
    (added,) = record_of(only_run(tmp_path / "runs")).added_test_sets
    assert added.reproduced["mIoU"] == pytest.approx(record.metrics["mIoU"].last)
    assert added.scores.keys() == {"mIoU", "mAcc", "aAcc"}
