"""Reading what a run left behind, for the tests of every room."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch

import mimbench
from benchmarks.engine.checkpoint import Checkpoint, Checkpoints, State
from benchmarks.runs.folder import read_record
from benchmarks.runs.record import RunRecord

TIMINGS = ("images_per_second", "eta_seconds")


def only_run(runs: Path) -> Path:
    """Return the single run folder below `runs`, where MLflow's store may lie too."""
    (folder,) = (path for path in runs.iterdir() if path.is_dir() and path.name != "mlflow")
    return folder


def record_of(folder: Path) -> RunRecord:
    record = read_record(folder)
    assert record is not None
    return record


def last_checkpoint(folder: Path) -> Checkpoint:
    checkpoint = Checkpoints(folder / "checkpoints").latest()
    assert checkpoint is not None
    return checkpoint


def numbers_of(folder: Path) -> list[dict[str, Any]]:
    """Return the lines of metrics.jsonl without the fields that measure time."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in TIMINGS} for line in lines]


def assert_same_training(one: Path, other: Path) -> None:
    """Assert that two runs ended with the same bits: weights, optimiser, logged numbers."""
    a, b = last_checkpoint(one), last_checkpoint(other)
    assert a.step == b.step
    assert a.tensors.keys() == b.tensors.keys()
    different = [name for name, tensor in a.tensors.items() if not tensor.equal(b.tensors[name])]
    assert different == []
    assert numbers_of(one) == numbers_of(other)


def assert_close_training(one: Path, other: Path, *, weights: float = 2e-4, numbers: float = 2e-3) -> None:
    """Assert that two runs ended alike, up to what the order of sums changes.

    `weights` is how far weights may be apart, `numbers` how far logged numbers may, as a share. AdamW's first steps are
    +-lr whatever the gradient's size, so that a rounding at zero can show at that scale: hence the defaults.
    """
    a, b = last_checkpoint(one), last_checkpoint(other)
    assert a.step == b.step
    for name, tensor in a.part("model").items():
        torch.testing.assert_close(
            b.part("model")[name], tensor, rtol=1e-5, atol=weights, msg=lambda text, name=name: f"{name}: {text}"
        )
    for here, there in zip(numbers_of(one), numbers_of(other), strict=True):
        assert here["step"] == there["step"]
        assert there == pytest.approx(here, rel=numbers, abs=5e-4 * numbers)


def wait_for_step(folder: Path, step: int, seconds: float = 180) -> None:
    """Wait until a checkpoint of at least `step` steps is there."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if any(int(path.name[5:]) >= step for path in folder.glob("*/checkpoints/step_*")):
            return
        time.sleep(0.01)
    raise AssertionError(f"no checkpoint of step {step} within {seconds} s")


def trained(command: list[str], runs: Path, *more: str) -> Path:
    """Run `mimbench` here to its end; return the only folder below `runs`."""
    assert mimbench.main([*command, "--runs", str(runs), *more]) == 0
    return only_run(runs)


def stop_after(command: list[str], runs: Path, step: int, number: signal.Signals = signal.SIGTERM) -> Path:
    """Run `mimbench` here, with a real signal as soon as `step` steps are saved; return the stopped run's folder."""
    with pytest.MonkeyPatch.context() as patch:
        stop_after_step(patch, step, number)
        assert mimbench.main([*command, "--runs", str(runs)]) == mimbench.INTERRUPTED
    folder = only_run(runs)
    assert record_of(folder).status == "preempted"
    return folder


def stop_after_step(patch: pytest.MonkeyPatch, step: int, number: signal.Signals = signal.SIGTERM) -> None:
    """Let this process send itself a real signal as soon as it has saved `step` steps."""
    save = Checkpoints.save
    sent: list[int] = []

    def saving(self: Checkpoints, state: State, at: int, progress: dict[str, Any]) -> Path:
        path = save(self, state, at, progress)
        if at >= step and not sent:
            sent.append(at)
            os.kill(os.getpid(), number)
        return path

    patch.setattr(Checkpoints, "save", saving)


def assert_same_end(one: Path, other: Path, files: tuple[str, ...]) -> None:
    """Assert that two runs ended with the same bits, the same scores and the same result files."""
    assert_same_training(one, other)
    assert record_of(one).metrics == record_of(other).metrics
    for name in files:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
