"""How long a pipeline takes to submit and to look at: `python -m tests.slurm.scale`, on a throwaway Slurm."""

from __future__ import annotations

import subprocess
import tempfile
import time
from pathlib import Path

from tests.slurm.bench import Bench
from tests.slurm.throwaway_cluster import Cluster, throwaway_cluster

CLUSTER = "{executor: slurm, gpus_per_node: 0, cpus_per_process: 1, time_limit: 10m}"

LABELS = ("simmim", "scratch")
ROOM = 8
"""Stages at once: two virtual nodes of four CPUs."""


def main() -> None:
    with throwaway_cluster(Cluster) as cluster:
        for seeds in (9, 99):
            measure(Path(tempfile.mkdtemp()), cluster.environment, seeds)


def measure(path: Path, environment: dict[str, str], seeds: int) -> None:
    bench = Bench(path, environment)
    counter = path / "sbatch_calls"
    shim = path / "bin" / "sbatch"
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/sh\necho >> {counter}\nPATH="${{PATH#*:}}" exec sbatch "$@"\n')
    shim.chmod(0o755)
    bench.environment["PATH"] = f"{shim.parent}:{bench.environment['PATH']}"
    (path / "cluster.yaml").write_text(CLUSTER)
    stages = ["pretrain.simmim", *(f"digits.{label}.seed{seed}" for label in LABELS for seed in range(seeds))]
    for stage in stages:
        bench.hold(stage)
    words = f"{len(stages) + 1} stages"
    for what in ("submitted", "submitted again"):
        began = time.monotonic()
        done = bench.submit("--cluster", "cluster.yaml", f"seeds={list(range(seeds))}")
        assert done.returncode == 0, done.stdout
        calls = len(counter.read_text().splitlines())
        print(f"{words} {what} in {time.monotonic() - began:.2f} s, {calls} calls of sbatch so far", flush=True)
    # On a cluster stages start on other machines than the one that asks.
    bench.wait_for(lambda: len(bench.begun()) == ROOM, "as many are at work as there is room for")
    began = time.monotonic()
    status = bench.mimbench("pipeline", "status", "small")
    assert status.stdout.count(" running ") == ROOM, status.stdout
    print(f"status of {words} in {time.monotonic() - began:.2f} s", flush=True)
    subprocess.run(["scancel", "--user", str(Path.home().owner())], env=bench.environment, check=True)
    bench.close()


if __name__ == "__main__":
    main()
