"""Rungs: a pretraining that pauses there ends as it would alone; those with the lowest losses go on."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

import mimbench
from benchmarks.runs.rungs import HeldOut, held_out_at
from tests.support import small
from tests.support.runs import assert_same_training, numbers_of, only_run, record_of, stop_after, trained

EVERY = "validation={split: test, every_epochs: 1}"


@pytest.fixture(scope="module")
def command(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A real pretraining of 9 steps, 3 in each of its epochs, evaluated after each; add --runs."""
    return [*small.pretraining(small.cut_digits(digits, tmp_path_factory.mktemp("data") / "cut")), EVERY]


@pytest.fixture(scope="module")
def alone(command: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run without rungs; no test may change it."""
    return trained(command, tmp_path_factory.mktemp("alone"))


def test_a_run_that_pauses_at_rungs_ends_with_the_bits_of_one_that_does_not(
    command: list[str], alone: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here = [*command, "--runs", str(tmp_path)]
    for until, step in (("0.1", 3), ("0.5", 6)):
        assert mimbench.main([*here, "--until", until]) == 0
        assert f"paused after step {step} of 9" in capsys.readouterr().out
        run = only_run(tmp_path)
        assert (record_of(run).status, record_of(run).steps) == ("preempted", step)
        assert not (run / "encoder").exists()
    assert mimbench.main([*here, "--until", "0.5"]) == 0  # once more, as after a lost job
    assert record_of(run).steps == 6
    assert mimbench.main(here) == 0
    record, other = record_of(run), record_of(alone)
    assert (record.status, record.error) == ("completed", None)
    assert record.exported_sha256 == other.exported_sha256
    assert record.metrics == other.metrics
    assert_same_training(run, alone)
    assert mimbench.main([*here, "--until", "0.5"]) == 0  # of a run that is past it
    assert "already done" in capsys.readouterr().out


def test_a_run_that_is_stopped_before_its_rung_goes_on_to_it(command: list[str], alone: Path, tmp_path: Path) -> None:
    run = stop_after([*command, "--until", "0.5"], tmp_path, step=4, number=signal.SIGTERM)
    assert held_out_at(run, 0.5) is None
    assert mimbench.main([*command, "--runs", str(tmp_path), "--until", "0.5"]) == 0
    assert record_of(run).steps == 6
    logged = [line for line in numbers_of(alone) if line["step"] <= 6]
    assert numbers_of(run) == logged


def test_a_runs_loss_at_a_rung_is_that_of_its_next_evaluation(alone: Path) -> None:
    losses = [line["masked_loss"] for line in numbers_of(alone) if "masked_loss" in line]
    assert len(losses) == 3
    for share, epoch in ((0.01, 1), (1 / 3, 1), (0.34, 2), (2 / 3, 2), (0.9, 3)):
        found = held_out_at(alone, share)
        assert found == HeldOut(step=3 * epoch, epoch=epoch, loss=losses[epoch - 1]), share


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--until", "0.9"], ["--until = 0.9", "before its end", "a smaller share"]),
        (["--until", "1"], ["--until = 1.0", "above 0 and below 1"]),
        (["--until", "0"], ["--until = 0.0", "above 0 and below 1"]),
        (["--until", "nan"], ["--until = nan", "above 0 and below 1"]),
        (["--until", "0.1", "validation=null"], ["--until = 0.1", "held-out images", "validation.share"]),
    ],
)
def test_a_pause_that_cannot_be_is_refused(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: list[str]
) -> None:
    assert mimbench.main([*command, *arguments, "--runs", str(tmp_path)]) == mimbench.WRONG
    said = capsys.readouterr().err
    assert [word for word in words if word not in said] == []


def test_the_verb_writes_the_decision_and_into_each_record_why_it_ended(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = {}
    for name, rate in (("low", "1e-9"), ("high", "1e-2")):
        there = tmp_path / name
        more = [f"training.schedule.base_lr={rate}", "training.schedule.warmup_lr=0", "training.schedule.min_lr=0"]
        assert mimbench.main([*command, *more, "--until", "0.5", "--runs", str(there)]) == 0
        runs[name] = only_run(there)
    losses = {name: [x["masked_loss"] for x in numbers_of(run) if "masked_loss" in x] for name, run in runs.items()}
    assert losses["high"][1] < losses["low"][1]  # one learned, the other hardly

    file = tmp_path / "rung.json"
    rung = ["rung", "--share", "0.5", "--keep", "0.5", "--out", str(file)]
    rung += [word for name, run in runs.items() for word in ("--member", name, str(run))]
    assert mimbench.main([*rung, "--member", "lost", str(tmp_path / "nowhere.json")]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in ("low", "high", "lost"))
    found = json.loads(file.read_text())
    assert {one["name"]: (one["outcome"], one["held_out_loss"]) for one in found["members"]} == {
        "low": ("kept", losses["low"][1]),  # a half of three is two
        "high": ("kept", losses["high"][1]),
        "lost": ("failed", None),
    }
    after = ["--after", str(file), "--out", str(tmp_path / "next.json")]
    assert mimbench.main([*rung, *after, "--member", "lost", str(runs["low"])]) == 0
    assert "lost" not in (tmp_path / "next.json").read_text()
    pruned = record_of(runs["low"])
    assert pruned.status == "preempted"
    assert pruned.pruned is not None
    assert pruned.error == pruned.pruned
    assert "low at 0.5 of its training: held-out loss" in pruned.pruned
    assert "number 2 of 2; 1 goes on" in pruned.pruned
    assert record_of(runs["high"]).pruned is None

    # It goes on all the same where a person asks for it, and its record no longer says otherwise.
    more = ["training.schedule.base_lr=1e-9", "training.schedule.warmup_lr=0", "training.schedule.min_lr=0"]
    assert mimbench.main([*command, *more, "--runs", str(tmp_path / "low")]) == 0
    assert (record_of(runs["low"]).status, record_of(runs["low"]).pruned) == ("completed", None)


def test_losses_on_other_scales_are_not_compared(
    command: list[str], alone: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = trained([*command, "masking.mask_ratio=0.4"], tmp_path / "runs")
    rung = ["rung", "--share", "0.5", "--keep", "0.5", "--out", str(tmp_path / "rung.json")]
    members = ["--member", "a", str(alone), "--member", "b", str(other)]
    assert mimbench.main([*rung, *members]) == mimbench.WRONG
    said = capsys.readouterr().err
    assert "held-out losses are on one scale: they differ in masking" in said
    assert not (tmp_path / "rung.json").exists()
    for wrong in (["--keep", "1"], ["--share", "0"], ["--after", str(tmp_path / "none.json")]):
        assert mimbench.main([*rung, *wrong, *members]) == mimbench.WRONG
        assert wrong[0] in capsys.readouterr().err
