"""Pipelines whose jobs wait in the queue for an hour: for tests of what is submitted, found and cancelled."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.slurm.bench import Bench
from tests.slurm.jobs import jobs

STAGE = "pretrain.simmim"
STAGES = 4
"""Of the pipeline with one seed."""
SUBMIT = ("pipeline", "submit", "pipeline.yaml", "seeds=[0]", "--cluster", "cluster.yaml")


def submit_waiting(bench: Bench, *options: str) -> set[str]:
    """Submit the pipeline with one seed; return the ids of its jobs, which do not begin."""
    lines = ["executor: slurm", "partition: main", "gpus_per_node: 0", "cpus_per_process: 1", "time_limit: 10m"]
    (bench.path / "cluster.yaml").write_text("\n".join([*lines, "sbatch: {begin: now+1hour}", *options]))
    submitted = bench.mimbench(*SUBMIT)
    assert submitted.returncode == 0, submitted.stdout
    return ids(bench)


def ids(bench: Bench) -> set[str]:
    return {job["id"] for job in jobs(bench).values() if job is not None}


def wrap(bench: Bench, program: str, script: str) -> None:
    """Put a wrapper before a program of Slurm, as sites do; `$real` in the script is the program itself."""
    folder = bench.path / "bin"
    folder.mkdir(exist_ok=True)
    real = shutil.which(program, path=bench.environment["PATH"].removeprefix(f"{folder}:"))
    (folder / program).write_text(f"#!/bin/sh\nreal={real}\n{script}\n")
    (folder / program).chmod(0o755)
    if str(folder) not in bench.environment["PATH"]:
        bench.environment["PATH"] = f"{folder}:{bench.environment['PATH']}"


def unwrap(bench: Bench) -> None:
    folder = bench.path / "bin"
    bench.environment["PATH"] = bench.environment["PATH"].removeprefix(f"{folder}:")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
