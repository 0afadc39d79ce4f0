"""How long a pipeline takes to submit and to look at: `python -m tests.slurm.scale`, on a throwaway Slurm."""

from __future__ import annotations

import subprocess
import tempfile
import time
from pathlib import Path

from tests.slurm.bench import Bench
from tests.slurm.throwaway_cluster import Cluster, throwaway_cluster

CLUSTER = "{executor: slurm, gpus_per_node: 0, cpus_per_process: 1, time_limit: 10m}"


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
    bench.hold("pretrain.simmim")
    words = f"{2 * seeds + 2} stages"
    for what in ("submitted", "submitted again"):
        began = time.monotonic()
        done = bench.submit("--cluster", "cluster.yaml", f"seeds={list(range(seeds))}")
        assert done.returncode == 0, done.stdout
        calls = len(counter.read_text().splitlines())
        print(f"{words} {what} in {time.monotonic() - began:.2f} s, {calls} calls of sbatch so far", flush=True)
    began = time.monotonic()
    status = bench.mimbench("pipeline", "status", "small")
    assert status.returncode == 0, status.stdout
    print(f"status of {words} in {time.monotonic() - began:.2f} s", flush=True)
    subprocess.run(["scancel", "--user", str(Path.home().owner())], env=bench.environment, check=True)
    bench.close()


if __name__ == "__main__":
    main()
