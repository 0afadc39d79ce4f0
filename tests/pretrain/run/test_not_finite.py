"""A batch that no training survives: real arrays that hold NaN, or that overflow."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import mimbench
from benchmarks.engine.samples.loaders import StepBatches
from tests.support.processes import finished, launch
from tests.support.runs import last_checkpoint, only_run, record_of

IMAGES, BATCH, BAD_FILE = 24, 4, 7


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    """Six steps an epoch on arrays of two channels, one of which is not a number; add epochs and --runs."""
    folder, chance = tmp_path / "data" / "train", np.random.default_rng(0)
    folder.mkdir(parents=True)
    for number in range(IMAGES):
        array = chance.random((32, 32, 2), dtype=np.float32)
        np.save(folder / f"{number:02d}.npy", np.full_like(array, np.nan) if number == BAD_FILE else array)
    return [
        "pretrain",
        "digits_simmim",
        f"data.root={tmp_path / 'data'}",
        "data.split=train",
        "data.mean=[0.5,0.5]",
        "data.std=[0.5,0.5]",
        "validation=null",
        "encoder={name: swin_tiny_patch4_window7_224, arguments: {window_size: 4, embed_dim: 8, depths: [1, 1, 1, 1],"
        " num_heads: [1, 1, 1, 1], in_chans: 2}}",
        f"training.batch_size={BATCH}",
        "training.schedule.warmup_epochs=0",
        "training.log_every_steps=1",
        "training.checkpoint_every_steps=4",
    ]


def bad_step() -> int:
    """Return the step (0-based) of the first epoch whose batch holds the bad image."""
    batches = list(StepBatches(IMAGES, BATCH, IMAGES // BATCH, 0, seed=0))
    return next(step for step, keys in enumerate(batches) if any(key.position == BAD_FILE for key in keys))


@pytest.mark.parametrize("log_every", [1, 100])
def test_the_batch_is_passed_over_once_and_reported(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], log_every: int
) -> None:
    runs = ["--runs", str(tmp_path / "runs"), f"training.log_every_steps={log_every}"]
    assert mimbench.main([*command, "training.epochs=1", *runs]) == 0
    folder, bad = only_run(tmp_path / "runs"), bad_step()
    record, kept = record_of(folder), last_checkpoint(folder)
    assert (record.status, record.steps, record.skipped_steps) == ("completed", 6, (bad,))
    assert kept.data["progress"]["skipped"] == [bad]
    assert all(tensor.isfinite().all() for tensor in kept.tensors.values())
    updates = kept.part("optimizer")["0.step"]
    assert updates == 5, "six steps, of which one changed nothing"
    before = bad // 4 * 4
    assert f"not finite in step {bad + 1} of 6; going back to step {before}" in capsys.readouterr().err
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    steps = [line["step"] for line in lines]
    assert steps == ([step for step in range(1, 7) if step != bad + 1] if log_every == 1 else [6])
    assert all(np.isfinite(line["loss"]) for line in lines)


def test_the_second_time_the_run_stops_with_its_state_good(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert mimbench.main([*command, "training.epochs=2", "--runs", str(tmp_path / "runs")]) == mimbench.FAILED
    said = capsys.readouterr().err
    assert f"after the batch of step {bad_step() + 1} was passed over for the same reason" in said
    assert "remedy: a lower training.schedule.base_lr" in said
    folder = only_run(tmp_path / "runs")
    assert record_of(folder).status == "failed"
    assert all(tensor.isfinite().all() for tensor in last_checkpoint(folder).tensors.values())


def test_two_processes_pass_over_the_same_batch(command: list[str], tmp_path: Path) -> None:
    command += ["training.epochs=1", "training.optimizer.kind=sgd"]
    assert mimbench.main([*command, "--runs", str(tmp_path / "one")]) == 0
    ranks = finished(launch([*command, "--runs", str(tmp_path / "two")]))
    assert [code for code, _, _ in ranks] == [0, 0], ranks
    one, two = (only_run(tmp_path / name) for name in ("one", "two"))
    assert record_of(one).skipped_steps == record_of(two).skipped_steps == (bad_step(),)
    found = last_checkpoint(two).part("model")
    for name, tensor in last_checkpoint(one).part("model").items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-5, atol=1e-6)
