"""What TensorBoard's own reader finds in a run is what metrics.jsonl says, also after a stop in the middle."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

import mimbench
from benchmarks.runs.metrics_log import MetricsLog
from tests.runs import only_run


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder))
    found.Reload()
    return {tag: [(event.step, event.value) for event in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def test_a_run_writes_what_it_logs(pretrain_command: list[str], tmp_path: Path) -> None:
    assert mimbench.main([*pretrain_command, "--runs", str(tmp_path / "runs"), "training.tensorboard=true"]) == 0
    folder = only_run(tmp_path / "runs")
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    found = scalars(folder / "tensorboard")
    assert found.keys() == {"loss", "lr", "grad_norm", "images_per_second", "masked_loss"}
    for tag, values in found.items():
        logged = [(line["step"], line[tag]) for line in lines if tag in line]
        assert [step for step, _ in values] == [step for step, _ in logged]
        assert [value for _, value in values] == pytest.approx([value for _, value in logged], rel=1e-6)


def test_steps_that_are_done_again_are_there_once(tmp_path: Path) -> None:
    for first, last in ((0, 4), (2, 5)):
        log = MetricsLog(tmp_path / "metrics.jsonl", tmp_path / "tensorboard")
        log.rewind(first)
        for step in range(first + 1, last + 1):
            log.write(step=step, loss=step / 2)
        log.close()
    assert scalars(tmp_path / "tensorboard")["loss"] == [(step, step / 2) for step in range(1, 6)]


def test_without_the_package_the_remedy_is_named(
    pretrain_command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    command = [*pretrain_command, "--runs", str(tmp_path / "runs"), "training.tensorboard=true"]
    assert mimbench.main(command) == mimbench.WRONG
    assert "pip install 'mimbench[tensorboard]'" in capsys.readouterr().err
