"""A detector on a frozen encoder: the encoder stays as it is, bit for bit, and the rest is trained."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch

from benchmarks.config import load_recipe
from benchmarks.encoders import Architecture
from tests.support.runs import record_of, trained
from tests.support.small import RANDOM
from tests.transfer import kinds
from tests.transfer.detection.detectors import CLASSES, SWIN, VIT, batch
from transfer.detection.models.build import engine_of
from transfer.detection.recipe import FrozenDetectionRecipe
from transfer.encoder.dense import build_encoder
from transfer.encoder.frozen_maps import FrozenDense
from transfer.encoder.head_maps import HeadMaps

RESNET = Architecture(name="resnet10t")


@pytest.mark.parametrize("engine", ["torchvision", "detectron2"])
@pytest.mark.parametrize("architecture", [SWIN, VIT, RESNET], ids=["norms", "pyramid", "statistics"])
def test_training_changes_all_but_the_encoder(engine: str, architecture: Architecture) -> None:
    if engine == "detectron2" and importlib.util.find_spec("detectron2") is None:
        pytest.skip("needs detectron2's sources: make test-detectron2 DETECTRON2=FOLDER")
    torch.manual_seed(0)
    overrides = [f"engine={engine}"]
    recipe = load_recipe(FrozenDetectionRecipe, "transfer", "digit_boxes_frozen", overrides).config
    maps = HeadMaps(FrozenDense(build_encoder(architecture)), recipe.fpn_channels)
    detector = engine_of(recipe)(recipe, maps, CLASSES, True).train()
    assert not detector.encoder.training
    before = {name: tensor.clone() for name, tensor in detector.state_dict().items()}
    trainable = {name for name, each in detector.named_parameters() if each.requires_grad}
    optimizer = torch.optim.AdamW([each for each in detector.parameters() if each.requires_grad], lr=1e-2)
    for _ in range(2):
        detector.loss(batch([(96, 128), (64, 80)], [3, 1])).backward()
        optimizer.step()
    changed = {name for name, tensor in detector.state_dict().items() if not tensor.equal(before[name])}
    encoder = {name for name in before if ".backbone." in name and name.startswith("maps.encoder.")}
    assert encoder
    assert not changed & encoder
    assert trainable <= changed, "every part of the detector learns"


def test_a_run_says_what_it_took_and_exports_no_encoder(digit_boxes: Path, tmp_path: Path) -> None:
    command = kinds.detection(kinds.cut_boxes(digit_boxes, tmp_path / "cut"))
    command = [each for each in command if not each.startswith("drop_path_rate")]
    folder = trained([*command, "--recipe", "digit_boxes_frozen", *RANDOM, "training.steps=4"], tmp_path / "runs")
    record = record_of(folder)
    assert record.feature == "maps of strides 4, 8, 16, 32, before the encoder's last norm"
    assert (record.exported_sha256, record.recipe.resolved["protocol"]) == (None, "frozen")
    assert "box_ap" in record.metrics
