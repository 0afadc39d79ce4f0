"""Jobs on a throwaway cluster that a test harms."""

from __future__ import annotations

import subprocess

from tests.slurm.bench import Bench
from tests.slurm.jobs import jobs, wait_until_empty

STAGE = "pretrain.simmim"


DONE = {STAGE: "completed", "digits.simmim.seed0": "completed", "digits.scratch.seed0": "completed"}


def launch(bench: Bench, *options: str) -> str:
    """Submit the pipeline with one seed; return the job id of the pretraining."""
    write_cluster(bench, *options)
    submitted = bench.submit("--cluster", "cluster.yaml", "seeds=[0]")
    assert submitted.returncode == 0, submitted.stdout
    found: str = jobs(bench)[STAGE]["id"]
    return found


def write_cluster(bench: Bench, *options: str) -> None:
    limit = [] if any(option.startswith("time_limit") for option in options) else ["time_limit: 10m"]
    lines = ["executor: slurm", "gpus_per_node: 0", "cpus_per_process: 1", *limit, *options]
    (bench.path / "cluster.yaml").write_text("\n".join(lines))


def slurm(bench: Bench, *command: str) -> str:
    return subprocess.run(command, env=bench.environment, capture_output=True, text=True, check=True).stdout


def assert_done_by(bench: Bench, job: str, beginnings: int) -> None:
    """Assert that the pretraining is done, by the job it was submitted as, and all that depends on it."""
    found = wait_until_empty(bench)
    assert DONE.items() <= found.items(), found
    assert found["report"] == "completed"
    assert jobs(bench)[STAGE]["id"] == job
    begun = [line for line in bench.diary("begins") if line["rank"] == 0]
    assert [line["stage"] for line in begun].count(STAGE) == beginnings
    assert len(begun) == len(DONE) - 1 + beginnings


def nodes_of(bench: Bench, job: str) -> list[str]:
    """Return the nodes on which a job runs; the first has its batch script."""
    listed = slurm(bench, "squeue", "-h", "-o%N", "-j", job).strip()
    return slurm(bench, "scontrol", "show", "hostnames", listed).split()
