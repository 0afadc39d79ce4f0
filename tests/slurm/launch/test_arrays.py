"""The seeds of a stage as one array of jobs, on a real Slurm: each seed lives, fails and is found by itself."""

from __future__ import annotations

import os
import re
import signal
import subprocess

import pytest

from tests.slurm.bench import Bench
from tests.slurm.jobs import jobs, wait_until_empty

SEEDS = (0, 1, 5)
SIMMIM = [f"digits.simmim.seed{seed}" for seed in SEEDS]
SCRATCH = [f"digits.scratch.seed{seed}" for seed in SEEDS]


def launch(bench: Bench, options: str = "cpus_per_process: 1") -> dict[str, str]:
    """Submit three seeds; return the job of each stage."""
    (bench.path / "cluster.yaml").write_text(f"{{executor: slurm, gpus_per_node: 0, time_limit: 10m, {options}}}")
    submitted = bench.submit("--cluster", "cluster.yaml", f"seeds={list(SEEDS)}")
    assert submitted.returncode == 0, submitted.stdout
    return job_ids(bench)


def job_ids(bench: Bench) -> dict[str, str]:
    return {name: job["id"] for name, job in jobs(bench).items()}


def ids_of(submitted: dict[str, str], stages: list[str]) -> list[str]:
    return [submitted[stage].partition("_")[0] for stage in stages]


def test_seeds_are_one_job_each_and_one_call_of_sbatch_together(slurm_bench: Bench) -> None:
    submitted = launch(slurm_bench, "nodes: 2, cpus_per_process: 1")
    for stages in (SIMMIM, SCRATCH):
        (array,) = set(ids_of(submitted, stages))
        assert [submitted[stage] for stage in stages] == [f"{array}_{task}" for task in range(3)]
    assert set(wait_until_empty(slurm_bench).values()) == {"completed"}
    for seed, stage in zip(SEEDS, SIMMIM, strict=True):
        log = slurm_bench.mimbench("pipeline", "logs", "small", stage).stdout
        assert log.count(f"--seed {seed} ") == 1
        assert f"logs/{stage}/{submitted[stage]}_0_log.out" in log
        assert f"# of another node: pipelines/{slurm_bench.folder.id}/logs/{stage}/{submitted[stage]}_1_log.out" in log
    again = launch(slurm_bench)
    assert again == submitted


@pytest.mark.parametrize(("size", "arrays", "jobs"), [(100, ["0-2%3"] * 2, 4), (2, ["0-1%2"] * 2, 6), (1, [], 8)])
def test_an_array_is_as_large_as_the_site_allows(bench: Bench, size: int, arrays: list[str], jobs: int) -> None:
    cluster = f"{{executor: slurm, time_limit: 10m, array_size: {size}}}"
    (bench.path / "cluster.yaml").write_text(cluster)
    shown = bench.submit("--cluster", "cluster.yaml", "--dry-run", f"seeds={list(SEEDS)}").stdout
    assert re.findall(r"^#SBATCH --array=(.*)$", shown, re.MULTILINE) == arrays
    assert shown.count("#SBATCH --job-name") == jobs


def test_a_lost_manifest_is_made_again_from_the_names_of_arrays(slurm_bench: Bench) -> None:
    """One seed's job was cancelled: it alone is replaced."""
    for stage in ("pretrain.simmim", *SCRATCH):
        slurm_bench.hold(stage)
    before = launch(slurm_bench)
    subprocess.run(["scancel", before[SIMMIM[1]]], env=slurm_bench.environment, check=True)
    os.truncate(slurm_bench.folder.manifest, 100)
    after = launch(slurm_bench)
    assert {stage for stage in before if before[stage] != after[stage]} == {SIMMIM[1], "report"}
    for stage in ("pretrain.simmim", *SCRATCH):
        slurm_bench.let_go(stage)
    assert set(wait_until_empty(slurm_bench).values()) == {"completed"}
    assert len(slurm_bench.begun()) == 7


@pytest.mark.faults
@pytest.mark.parametrize("task", [0, 2], ids=["first", "last"])
def test_a_killed_seed_begins_again_and_no_other(slurm_bench: Bench, task: int) -> None:
    """An array's last task goes by the id of the whole array."""
    for stage in SCRATCH:
        slurm_bench.hold(stage)
    submitted = launch(slurm_bench)
    victim = SCRATCH[task]
    pids = {stage: slurm_bench.pid_of(stage) for stage in SCRATCH}
    os.kill(pids[victim], signal.SIGKILL)
    slurm_bench.wait_for(lambda: slurm_bench.begun().count(victim) == 2, "it begins again")
    for stage in SCRATCH:
        slurm_bench.let_go(stage)
    assert set(wait_until_empty(slurm_bench).values()) == {"completed"}
    assert len(slurm_bench.begun()) == 7 + 1
    assert job_ids(slurm_bench) == submitted


@pytest.mark.faults
def test_one_seed_is_cancelled_or_crashes_and_is_resumed_alone(slurm_bench: Bench) -> None:
    for stage in SCRATCH:
        slurm_bench.hold(stage)
    (slurm_bench.desk / f"{SCRATCH[1]}.crash").touch()
    submitted = launch(slurm_bench, "cpus_per_process: 1, fruitless_restarts: 1")
    slurm_bench.pid_of(SCRATCH[2])
    subprocess.run(["scancel", submitted[SCRATCH[2]]], env=slurm_bench.environment, check=True)
    slurm_bench.wait_for(lambda: [found["stage"] for found in slurm_bench.diary("stops")] == [SCRATCH[2]], "it stops")
    for stage in SCRATCH:
        slurm_bench.let_go(stage)
    found = wait_until_empty(slurm_bench)
    assert [found[stage] for stage in SCRATCH] == ["completed", "failed", "stopped"]
    assert slurm_bench.begun().count(SCRATCH[1]) == 2
    (slurm_bench.desk / f"{SCRATCH[1]}.crash").unlink()
    assert slurm_bench.mimbench("pipeline", "resume", "small").returncode == 0
    assert set(wait_until_empty(slurm_bench).values()) == {"completed"}
    assert slurm_bench.begun().count(SCRATCH[0]) == 1
    assert len(set(ids_of(job_ids(slurm_bench), SCRATCH[1:]))) == 1
