"""The demo on a throwaway Slurm of two nodes and on this machine has the same scores: `python -m tests.slurm.demo`.

Not among the tests: it takes about 20 minutes on two cores; `seeds=[0]`, passed on to the demo, makes it shorter.
"""

from __future__ import annotations

import csv
import os
import sys
import tempfile
import time
from pathlib import Path
from subprocess import check_output, run

from slurm.state.folder import list_pipelines
from tests.slurm.throwaway_cluster import Cluster, throwaway_cluster
from tests.support.command import ROOT

CLUSTER = "{executor: slurm, gpus_per_node: 0, cpus_per_process: 4, time_limit: 2h}"
"""One stage on each node: their four virtual CPUs are this machine's two."""
SCORES = ("_mean", "_std", "_n", "_delta", "_low", "_high", "encoder_sha256", "run_ids")
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "COLUMNS": "200"}


def main(overrides: list[str]) -> int:
    """Run both, print both times; return 1 where a score differs."""
    here, there = (Path(tempfile.mkdtemp(prefix="demo")) for _ in range(2))
    demo = [sys.executable, "-m", "mimbench", "demo", "--full", *overrides]
    with throwaway_cluster(Cluster) as cluster:
        environment = {**os.environ, **ONE_THREAD, **cluster.environment}
        began = time.monotonic()
        (there / "two.yaml").write_text(CLUSTER)
        run([*demo, "--cluster", "two.yaml"], cwd=there, env=environment, check=True)
        while check_output(["squeue", "--noheader"], env=environment):
            time.sleep(1)
        print(f"on Slurm: {time.monotonic() - began:.0f} s, {there}", flush=True)
        run([sys.executable, "-m", "mimbench", "pipeline", "status", "digits"], cwd=there, env=environment, check=True)
    began = time.monotonic()
    run(demo, cwd=here, env={**os.environ, **ONE_THREAD}, check=True)
    print(f"on this machine: {time.monotonic() - began:.0f} s, {here}")
    return _compare(_scores(here), _scores(there))


def _scores(folder: Path) -> dict[str, str]:
    """Return every score of the demo's leaderboard, by task, encoder and column."""
    (pipeline,) = list_pipelines(folder / "pipelines")
    with open(pipeline.report / "leaderboard.csv", newline="") as table:
        return {
            f"{row['task']} {row['encoder']} {column}": cell
            for row in csv.DictReader(table)
            for column, cell in row.items()
            if column.endswith(SCORES) and cell
        }


def _compare(here: dict[str, str], there: dict[str, str]) -> int:
    different = [name for name in here.keys() | there.keys() if here.get(name) != there.get(name)]
    print(f"{len(here)} scores, differences, digests of encoders and ids of runs; {len(different)} differ")
    for name in sorted(different):
        print(f"  {name}: {here.get(name)} here, {there.get(name)} on Slurm")
    return 1 if different or not here else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
