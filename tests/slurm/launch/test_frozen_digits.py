"""One encoder of others over all frozen protocols: its images are run through it once."""

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


@pytest.mark.long
def test_every_image_is_run_through_the_encoder_once(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MIMBENCH_FEATURES", str(tmp_path / "features"))
    Path("data").mkdir()
    Path("data/digits").symlink_to(digits)
    Path("checkpoints").mkdir()
    sizes: dict[str, Any] = {"img_size": 32, "patch_size": 8, "embed_dim": 64, "depth": 6, "num_heads": 1}
    vit = timm.create_model("vit_tiny_patch16_224", num_classes=0, **sizes)
    randomise(vit)
    torch.save(vit.state_dict(), "checkpoints/encoder.pth")
    seen: list[int] = []
    whole = FrozenEncoder.outputs
    monkeypatch.setattr(FrozenEncoder, "outputs", lambda *given: seen.append(len(given[1])) or whole(*given))

    file = load_pipeline(Path("frozen_digits"))
    for stage in expand(file, Path("pipelines") / file.id, Path("runs")).stages:
        assert mimbench.main(stage.argv) == 0, stage.name
    assert sum(count for count in seen if count > 1) == IMAGES
    uses = [record_of(run).features for run in sorted(Path("runs").iterdir())]
    assert len(uses) == len(file.tasks)
    assert sum(use.computed for use in uses if use) == IMAGES
    assert [use.reused for use in uses if use and not use.computed] == [IMAGES] * (len(uses) - 1)
    assert capsys.readouterr().out.count("none computed again") >= 2 * (len(uses) - 1)
    with open(Path("pipelines", file.id, "report/leaderboard.csv"), newline="") as table:
        recipes = {row["recipe"] for row in csv.DictReader(table)}
    assert recipes == {task.recipe for task in file.tasks.values()}
