"""One encoder of others over all frozen protocols: where these share images, they are run through it once."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import timm
import torch

import mimbench
from slurm.graph.check import load_pipeline
from slurm.graph.stages import expand
from tests.support.random_weights import randomise
from tests.support.runs import record_of
from transfer.encoder.features import FrozenEncoder

IMAGES = 800
"""The training and test images of the digits."""
ALONE = {"several_classes": 300, "keypoints": 120, "neighbouring_patches": 300}
"""The images of the other protocols that keep features."""
TRAINED = {"linear_segmentation", "linear_depth", "frozen_detection", "attentive_videos"}
"""Protocols that see an image in several ways, or too many of them to keep."""


@pytest.mark.long
def test_every_image_is_run_through_the_encoder_once(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MIMBENCH_FEATURES", str(tmp_path / "features"))
    Path("data").mkdir()
    Path("data/digits").symlink_to(digits)
    Path("checkpoints").mkdir()
    sizes: dict[str, Any] = {"img_size": 32, "patch_size": 16, "embed_dim": 64, "depth": 6, "num_heads": 1}
    vit = timm.create_model("vit_tiny_patch16_224", num_classes=0, **sizes)
    randomise(vit)
    torch.save(vit.state_dict(), "checkpoints/encoder.pth")
    seen: dict[str, int] = {}
    whole, running = FrozenEncoder.outputs, ""

    def counted(encoder: FrozenEncoder, images: torch.Tensor, *given: Any) -> Any:
        seen[running] = seen.get(running, 0) + len(images) * (len(images) > 1)
        return whole(encoder, images, *given)

    monkeypatch.setattr(FrozenEncoder, "outputs", counted)
    file, runs = load_pipeline(Path("frozen_digits")), {}
    for stage in expand(file, Path("pipelines") / file.id, Path("runs")).stages:
        running = stage.name.partition(".")[0]
        assert mimbench.main(stage.argv) == 0, stage.name
        runs[running] = {*Path("runs").iterdir()}.difference(*runs.values())
    uses = {name: record_of(*run).features for name, run in runs.items() if run}
    assert uses.keys() == file.tasks.keys()
    shared = [use for name, use in uses.items() if file.tasks[name].task == "digits" and use is not None]
    assert sum(seen[name] for name, use in uses.items() if use in shared) == IMAGES
    assert sum(use.computed for use in shared) == IMAGES
    assert [use.reused for use in shared if not use.computed] == [IMAGES] * (len(shared) - 1)
    assert capsys.readouterr().out.count("none computed again") >= 2 * (len(shared) - 1)
    for name, images in ALONE.items():
        assert (uses[name].computed, seen[name]) == (images, images), name
    assert {name for name, use in uses.items() if use is None} == TRAINED
    with open(Path("pipelines", file.id, "report/leaderboard.csv"), newline="") as table:
        recipes = {row["recipe"] for row in csv.DictReader(table)}
    assert recipes == {task.recipe for task in file.tasks.values()}
