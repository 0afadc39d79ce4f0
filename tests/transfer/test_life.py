"""What all kinds of transfer share: they are stopped, continued, evaluated and exported alike, and skip bad files."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import mimbench
from benchmarks.encoders import read_manifest
from benchmarks.engine.samples.loaders import EvaluationLoader
from tests.support.runs import (
    assert_same_end,
    assert_same_training,
    last_checkpoint,
    numbers_of,
    only_run,
    record_of,
    stop_after,
    trained,
)
from tests.support.small import RANDOM
from tests.transfer.kinds import KINDS, Kind, rows_of


@pytest.fixture(scope="module", params=KINDS, ids=str)
def kind(request: pytest.FixtureRequest) -> Kind:
    found: Kind = request.param
    found.require()
    return found


@pytest.fixture(scope="module")
def whole(kind: Kind, request: pytest.FixtureRequest) -> Path:
    found: Path = request.getfixturevalue(kind.whole)
    return found


@pytest.fixture(scope="module")
def command(kind: Kind, whole: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return a command on data that no test may change; add --encoder and --runs."""
    return kind.command(kind.cut(whole, tmp_path_factory.mktemp("data") / "cut"))


@pytest.fixture(scope="module")
def undisturbed(command: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return the folder of a run that nothing disturbed; no test may change it."""
    runs = tmp_path_factory.mktemp("undisturbed")
    yield trained([*command, *RANDOM], runs)
    shutil.rmtree(runs)  # some hundred megabytes


def evaluations_of(kind: Kind, folder: Path) -> list[dict[str, Any]]:
    scores = {score for score, _, _ in kind.evaluations}
    return [line for line in numbers_of(folder) if scores & line.keys()]


def test_from_a_simmim_run_to_the_next_transfer(
    kind: Kind, command: list[str], simmim_run: Path, tmp_path: Path
) -> None:
    folder = trained([*command, *kind.exporting, "--encoder", str(simmim_run)], tmp_path / "runs")
    record = record_of(folder)
    assert record.task is not None
    assert (record.task.name, record.status, record.data.images) == (kind.task, "completed", kind.images)
    assert record.encoder is not None
    assert record.encoder.init_stage == "self-supervised"
    assert record.encoder.sha256 == record_of(simmim_run).exported_sha256
    assert record.load_report is not None
    assert (record.load_report.coverage_percent, record.load_report.complete) == (100, True)
    assert record.parents == (simmim_run.name,)
    evaluations = evaluations_of(kind, folder)
    for line, (score, unit, when) in zip(evaluations, kind.evaluations, strict=True):
        assert (score in line, line[unit]) == (True, when)
    score = kind.evaluations[-1][0]
    assert record.metrics[score].last == pytest.approx(evaluations[-1][score])
    if all(score in line for line in evaluations):
        assert record.metrics[score].best == pytest.approx(max(line[score] for line in evaluations))
    else:
        assert record.metrics[score].best is None, "one score along the way is no rival of another at the end"

    manifest = read_manifest(folder / "encoder")
    assert (manifest.init_stage, manifest.image_size_px) == ("fine-tuned", kind.image_size_px)
    assert manifest.sha256 == record.exported_sha256
    assert manifest.parents == (simmim_run.name, folder.name)
    model, exported = last_checkpoint(folder).part("model"), load_file(folder / "encoder" / "encoder.safetensors")
    encoder = {name.removeprefix(kind.encoder) for name in model if name.startswith(kind.encoder)}
    assert exported.keys() == {name for name in encoder if not name.startswith("head.")}
    assert all(tensor.equal(model[kind.encoder + name]) for name, tensor in exported.items())
    again = trained([*command, *kind.shorter, "--encoder", str(folder)], tmp_path / "again")
    assert record_of(again).parents[-1] == folder.name


def test_a_stopped_training_continues_to_the_same_bits(
    kind: Kind, command: list[str], undisturbed: Path, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    stopped = stop_after([*command, *RANDOM], runs, kind.saved_at)
    assert kind.saved_at <= last_checkpoint(stopped).step < last_checkpoint(undisturbed).step
    folder = trained([*command, *RANDOM], runs)
    assert record_of(folder).attempts == 2
    assert_same_end(folder, undisturbed, kind.results)


@pytest.mark.parametrize("which", [0, 1], ids=["in the middle", "after the last step"])
def test_a_stop_during_an_evaluation_does_not_wait_for_its_end_and_loses_no_step(
    kind: Kind,
    command: list[str],
    undisturbed: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    which: int,
) -> None:
    begun: list[EvaluationLoader[Any]] = []
    begin = EvaluationLoader._until_stopped

    def stopped(self: EvaluationLoader[Any], batches: Iterable[Any]) -> Iterator[Any]:
        begun.append(self)
        if len(begun) == which + 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return begin(self, batches)

    monkeypatch.setattr(EvaluationLoader, "_until_stopped", stopped)
    runs, whole = tmp_path / "runs", last_checkpoint(undisturbed).step
    assert mimbench.main([*command, *RANDOM, "--runs", str(runs)]) == mimbench.INTERRUPTED
    at = evaluations_of(kind, undisturbed)[which]["step"]
    assert f"SIGTERM after step {at} of {whole}; the state is saved" in capfd.readouterr().err
    assert last_checkpoint(only_run(runs)).step == at
    assert len(evaluations_of(kind, only_run(runs))) == which
    assert_same_end(trained([*command, *RANDOM], runs), undisturbed, kind.results)


def test_loader_processes_change_nothing(command: list[str], undisturbed: Path, tmp_path: Path) -> None:
    assert_same_training(trained([*command, *RANDOM], tmp_path, "training.workers=2"), undisturbed)


def test_an_incomplete_encoder_fails_before_training(
    command: list[str], simmim_run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    weights = load_file(simmim_run / "encoder" / "encoder.safetensors")
    del weights["layers.2.blocks.1.norm2.bias"]
    damaged = tmp_path / "damaged.pth"
    torch.save({"model": {f"encoder.{name}": tensor for name, tensor in weights.items()}}, damaged)
    source = ["--encoder", str(damaged), "--stage", "self-supervised"]
    assert mimbench.main([*command, *source, "--runs", str(tmp_path / "runs")]) == mimbench.FAILED
    assert "missing from the checkpoint: layers.2.blocks.1.norm2.bias" in capfd.readouterr().err
    record = record_of(only_run(tmp_path / "runs"))
    assert (record.status, record.steps) == ("failed", 0)
    assert record.load_report is not None
    assert record.load_report.coverage_percent < 100


def test_unusable_files_are_named_skipped_and_counted(
    kind: Kind, whole: Path, undisturbed: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    data = kind.cut(whole, tmp_path / "data")
    damaged, command = kind.damage(data), [*kind.command(data), *RANDOM]
    folder = trained(command, tmp_path / "runs")
    said = capfd.readouterr().err
    assert sorted(text.split(":")[0] for text in record_of(folder).data.unreadable) == sorted(map(str, damaged))
    for file, reason in damaged.items():
        assert said.count(f"unreadable file skipped: {file}") == 1
        assert reason in said
    if "predictions.csv" in kind.results:
        tested = {str(file.relative_to(data)) for file in damaged if file.parts[-3] != "train"}
        paths = [{row["path"] for row in rows_of(run / "predictions.csv")} for run in (undisturbed, folder)]
        assert paths[0] - paths[1] == tested
        assert paths[1] < paths[0]

    strict = ["--runs", str(tmp_path / "strict"), "data.max_unreadable=0"]
    assert mimbench.main([*command, *strict]) == mimbench.FAILED
    assert record_of(only_run(tmp_path / "strict")).status == "failed"
