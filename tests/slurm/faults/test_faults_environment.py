"""Variables of a person's shell change nothing, neither in our commands nor in the jobs."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys

import pytest

from slurm.controller.commands import environment, ignored_options
from tests.slurm.bench import Bench
from tests.slurm.jobs import queue, states
from tests.slurm.waiting_jobs import STAGE, STAGES, SUBMIT, ids, submit_waiting

NOISE = {
    "SQUEUE_STATES": "COMPLETED",
    "SQUEUE_USERS": "nobody",
    "SQUEUE_PARTITION": "high",
    "SQUEUE_SORT": "i",
    "SCANCEL_STATE": "SUSPENDED",
    "SCANCEL_PARTITION": "high",
    "SCANCEL_NAME": "other",
    "SCANCEL_VERBOSE": "1",
    "SBATCH_PARTITION": "high",
    "SBATCH_TIMELIMIT": "1",
    "SBATCH_EXPORT": "NONE",
    "SBATCH_ARRAY_INX": "0-3",
    "SLURM_ARRAY_JOB_ID": "1",
    "SLURM_ARRAY_TASK_ID": "1",
    "SLURM_JOB_ID": "1",
    "SLURM_CLUSTERS": "nowhere",
}


def test_only_what_leads_to_the_cluster_is_passed_on() -> None:
    around = {**NOISE, "SLURM_CONF": "/etc/slurm.conf", "PATH": "/bin", "WORLD_SIZE": "8", "MUNGE_SOCKET": "/run/munge"}
    assert environment(around) == {"SLURM_CONF": "/etc/slurm.conf", "PATH": "/bin", "MUNGE_SOCKET": "/run/munge"}
    assert ignored_options(around) == ["SBATCH_ARRAY_INX", "SBATCH_EXPORT", "SBATCH_PARTITION", "SBATCH_TIMELIMIT"]


@pytest.mark.faults
def test_options_of_the_shell_beat_nothing_and_hide_nothing(slurm_bench: Bench) -> None:
    quiet = dict(slurm_bench.environment)
    slurm_bench.environment |= NOISE
    submitted = submit_waiting(slurm_bench)
    slurm_bench.environment, noisy = quiet, slurm_bench.environment
    assert {*queue(slurm_bench)} == submitted
    form = ["squeue", "--noheader", "--format=%P %l"]
    shown = subprocess.run(form, env=quiet, capture_output=True, text=True, check=True).stdout.split()
    assert {*shown} == {"main", "10:00"}

    slurm_bench.environment = noisy
    again = slurm_bench.mimbench(*SUBMIT).stdout
    assert again.count("live already") == STAGES
    assert "ignored: SBATCH_ARRAY_INX, SBATCH_EXPORT, SBATCH_PARTITION, SBATCH_TIMELIMIT" in again
    assert "queued: BeginTime" in slurm_bench.mimbench("pipeline", "status", "small").stdout
    cancelled = slurm_bench.mimbench("pipeline", "cancel", "small")
    assert cancelled.returncode == 0
    slurm_bench.environment = quiet
    assert all(f"(job {job})" in cancelled.stdout for job in submitted)
    assert queue(slurm_bench) == []


@pytest.mark.faults
def test_a_pipeline_submitted_inside_an_array_s_task_is_its_own(slurm_bench: Bench) -> None:
    """The outer job asks for memory by CPU, the stages for theirs by node; one of them is killed and starts again."""
    lines = ["executor: slurm", "gpus_per_node: 0", "cpus_per_process: 1", "time_limit: 10m", "memory: 200MB"]
    (slurm_bench.path / "cluster.yaml").write_text("\n".join(lines))
    slurm_bench.hold(STAGE)
    command = shlex.join([sys.executable, "-m", "mimbench", *SUBMIT, "--no-data-check"])
    outer = ["sbatch", "--parsable", "--array=1", "--mem-per-cpu=100", "--requeue", "--output=outer.txt"]
    outer += [f"--wrap={command}; sleep 600"]
    answer = subprocess.run(
        outer, cwd=slurm_bench.path, env=slurm_bench.environment, capture_output=True, text=True, check=True
    )
    job = answer.stdout.strip()
    os.kill(slurm_bench.pid_of(STAGE), signal.SIGKILL)
    slurm_bench.wait_for(lambda: slurm_bench.begun().count(STAGE) == 2, "a stage has begun again")
    slurm_bench.let_go(STAGE)
    slurm_bench.wait_for(lambda: states(slurm_bench)["digits.simmim.seed0"] == "completed", "its child is done")
    shown = subprocess.run(
        ["scontrol", "show", "job", job], env=slurm_bench.environment, capture_output=True, text=True, check=True
    )
    assert "Restarts=0" in shown.stdout
    assert "JobState=RUNNING" in shown.stdout
    assert job not in {found.partition("_")[0] for found in ids(slurm_bench)}


@pytest.mark.faults
def test_a_pipeline_submitted_inside_salloc_is_its_own(slurm_bench: Bench) -> None:
    """The allocation asks for memory by CPU, the stages for theirs by node; srun would refuse both together."""
    lines = ["executor: slurm", "gpus_per_node: 0", "cpus_per_process: 1", "time_limit: 10m", "memory: 200MB"]
    (slurm_bench.path / "cluster.yaml").write_text("\n".join(lines))
    command = [sys.executable, "-m", "mimbench", *SUBMIT, "--no-data-check"]
    inside = subprocess.run(
        ["salloc", "--ntasks=1", "--mem-per-cpu=100", *command],
        cwd=slurm_bench.path,
        env=slurm_bench.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert inside.returncode == 0, inside.stdout + inside.stderr
    slurm_bench.wait_for(lambda: states(slurm_bench)["digits.simmim.seed0"] == "completed", "a child is done")


@pytest.mark.faults
def test_jobs_without_the_submitter_s_environment_run_all_the_same(slurm_bench: Bench) -> None:
    needed = {name: slurm_bench.environment[name] for name in ("PYTHONPATH", "CHEAP_STAGES")}
    own = [f"export {name}={shlex.quote(value)}" for name, value in needed.items()]
    lines = ["executor: slurm", "gpus_per_node: 0", "cpus_per_process: 1", "time_limit: 10m", f"setup: {own}"]
    (slurm_bench.path / "cluster.yaml").write_text("\n".join([*lines, "sbatch: {export: NONE}"]))
    submitted = slurm_bench.submit("--cluster", "cluster.yaml")
    assert submitted.returncode == 0, submitted.stdout
    slurm_bench.wait_for(lambda: states(slurm_bench)["digits.simmim.seed1"] == "completed", "a child is done")
