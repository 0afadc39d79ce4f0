"""Reading what a run left behind, for the tests of every room."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.engine.checkpoint import Checkpoint, Checkpoints
from benchmarks.runs.folder import read_record
from benchmarks.runs.record import RunRecord

REPOSITORY = Path(__file__).parent.parent
TIMINGS = ("images_per_second", "eta_seconds")


def only_run(runs: Path) -> Path:
    """Return the single run folder below `runs`."""
    (folder,) = (path for path in runs.iterdir() if path.is_dir())
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
    """Return metrics.jsonl without the fields that tell time."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in TIMINGS} for line in lines]


def assert_same_training(one: Path, other: Path) -> None:
    """Two runs ended with the same bits: weights, optimiser, logged numbers."""
    a, b = last_checkpoint(one), last_checkpoint(other)
    assert a.step == b.step
    assert a.tensors.keys() == b.tensors.keys()
    different = [name for name, tensor in a.tensors.items() if not tensor.equal(b.tensors[name])]
    assert different == []
    assert numbers_of(one) == numbers_of(other)


def start(command: list[str], **environment: str) -> subprocess.Popen[str]:
    """Start `mimbench` in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "mimbench", *command],
        cwd=REPOSITORY,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
