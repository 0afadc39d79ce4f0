"""Measured times of pretrainings' steps beside the published costs of SimMIM's heads."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

import mimbench
from reports.leaderboard.lines import published_beside
from reports.tables.columns import PRETRAINING_COST
from tests.reports import factory

STEPS = {"linear": 0.2, "mlp": 0.25, "inverse": 0.5}


def write_study(folder: Path, *, inverse: dict[str, Any] | None = None) -> Path:
    """Write a pretraining for each head, and a transfer from each."""
    for seed, (label, seconds) in enumerate(STEPS.items()):
        more = inverse if label == "inverse" and inverse else {}
        sha256 = factory.sha(f"encoder of {label}")
        factory.write(folder, factory.pretrain(seed, seconds_per_step=seconds, exported_sha256=sha256, **more))
        use = factory.encoder(label).model_copy(update={"sha256": sha256})
        factory.write(folder, factory.transfer(label, encoder=use))
    return folder


def leaderboard(runs: Path, out: Path, *more: str) -> list[dict[str, str]]:
    command = ["report", "leaderboard", str(runs), "--baseline", "linear", "--out", str(out), *more]
    assert mimbench.main(command) == 0
    with (out / "leaderboard.csv").open() as file:
        return list(csv.DictReader(file))


def test_steps_stand_beside_their_ratio_to_the_baselines(tmp_path: Path) -> None:
    lines = {line["encoder"]: line for line in leaderboard(write_study(tmp_path / "runs"), tmp_path / "out")}
    found = {name: (line["pretraining_step_milliseconds"], line["pretraining_cost"]) for name, line in lines.items()}
    assert found == {"linear": ("200.0", "1.00"), "mlp": ("250.0", "1.25"), "inverse": ("500.0", "2.50")}
    assert "250.0 (1.25x)" in (tmp_path / "out" / "leaderboard.md").read_text()


@pytest.mark.parametrize("other", [{"processes": 2}, {"environment": {"device": "another device"}}])
def test_steps_that_were_not_timed_alike_have_no_ratio(tmp_path: Path, other: dict[str, Any]) -> None:
    if "environment" in other:
        other = {"environment": factory.ENVIRONMENT.model_copy(update=other["environment"])}
    lines = {each["encoder"]: each for each in leaderboard(write_study(tmp_path / "r", inverse=other), tmp_path / "o")}
    assert lines["inverse"]["pretraining_step_milliseconds"] == "500.0"
    assert lines["inverse"]["pretraining_cost"] == ""
    assert lines["mlp"]["pretraining_cost"] == "1.25"


def test_one_pretraining_alone_has_no_column(tmp_path: Path) -> None:
    sha256 = factory.sha("encoder")
    factory.write(tmp_path / "runs", factory.pretrain(0, seconds_per_step=0.2, exported_sha256=sha256))
    use = factory.encoder("linear").model_copy(update={"sha256": sha256})
    factory.write(tmp_path / "runs", factory.transfer("linear", encoder=use))
    assert "pretraining_cost" not in leaderboard(tmp_path / "runs", tmp_path / "out")[0]


def test_the_published_costs_of_the_heads_stand_below_where_all_references_are_asked_for() -> None:
    """SimMIM, table 2: 1x, 1.2x, 1.7x, 2.3x."""
    heads = {
        line.first.variant: PRETRAINING_COST.cell(line)[1]
        for line in published_beside("imagenet1k", [], "all", unverified=False)
        if line.value("training_cost") and line.first.ablation
    }
    assert heads == {
        "head: linear": "1x",
        "head: 2-layer MLP": "1.2x",
        "head: inverse Swin-T": "1.7x",
        "head: inverse Swin-B": "2.3x",
    }
