"""Real trainings through what a cluster does to them: the numbers are those of an undisturbed run, to the bit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from benchmarks.rundir import follow
from tests.runs import assert_same_training, only_run, record_of
from tests.slurm.bench import Bench
from tests.slurm.conftest import open_slurm_bench
from tests.slurm.test_faults import slurm
from tests.slurm.test_ranks import pipeline
from tests.slurm.test_slurm import jobs, states, wait_until_empty

pytestmark = pytest.mark.faults
STAGE = "pretrain.simmim"
EPOCHS = 20


@pytest.fixture
def bench(small_digits: Path, slurm_environment: dict[str, str]) -> Iterator[Bench]:
    with open_slurm_bench(small_digits.parent, slurm_environment, stub=False) as found:
        yield found


def launch(
    bench: Bench, *options: str, cluster: str = "cpus_per_process: 1, time_limit: 10m", epochs: int = EPOCHS
) -> Path:
    """Submit a pretraining and what follows from it; return its run folder when it has begun to train."""
    submit(bench, cluster, epochs, *options)
    bench.wait_for(lambda: bench.step_of(STAGE) > 2, "it trains")
    return follow(bench.folder.announcement(STAGE))


def submit(bench: Bench, cluster: str, epochs: int, *options: str) -> None:
    (bench.path / "pipeline.yaml").write_text(pipeline(epochs))
    (bench.path / "cluster.yaml").write_text(f"{{executor: slurm, gpus_per_node: 0, {cluster}}}")
    submitted = bench.submit("--cluster", "cluster.yaml", *options)
    assert submitted.returncode == 0, submitted.stdout


def undisturbed(bench: Bench, run: Path, ranks: int = 1) -> Path:
    """Train the same on this machine, beside the cluster, without any fault."""
    variables = {**bench.environment, "WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29631"}
    command = [*record_of(run).command[1:]]
    for option in ("--runs", "--announce"):
        at = command.index(option)
        command[at + 1] = str(bench.path / f"undisturbed{option}")
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "mimbench", *command],
            cwd=bench.path,
            env={**variables, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.DEVNULL,
        )
        for rank in range(ranks)
    ]
    assert [process.wait(120) for process in started] == [0] * ranks
    return only_run(bench.path / "undisturbed--runs")


def assert_nothing_lost(bench: Bench, run: Path, attempts: int, ranks: int = 1) -> None:
    reference = undisturbed(bench, run, ranks)
    found = wait_until_empty(bench)
    assert set(found.values()) == {"completed"}, found
    assert record_of(run).attempts == attempts
    assert_same_training(run, reference)
    assert record_of(run).exported_sha256 == record_of(reference).exported_sha256


def trainer(bench: Bench, rank: int = 0) -> int:
    """Return the process id of a rank of the pretraining."""
    attempt = bench.folder.read_attempt(STAGE)
    assert attempt is not None
    if attempt.meeting is None:
        return attempt.pid
    name = f"\0RANK={rank}\0"
    for process in Path("/proc").glob("[0-9]*"):
        try:
            ours = str(bench.path) in os.readlink(process / "cwd") and "slurm.rank" in (process / "cmdline").read_text()
            if ours and name in (process / "environ").read_text():
                return int(process.name)
        except OSError:
            continue
    raise AssertionError(f"no rank {rank}")


def test_without_any_fault_the_table_is_that_of_this_machine(bench: Bench) -> None:
    launch(bench, epochs=3)
    assert set(wait_until_empty(bench).values()) == {"completed"}
    here = bench.submit("--runs", "here", "--pipelines", "local")
    assert here.returncode == 0, here.stdout
    (local,) = (bench.path / "local").glob("*/report/leaderboard.txt")
    there, here_too = (bench.folder.report / "leaderboard.txt").read_text(), local.read_text()
    assert "top1" in there.split("Start")[0]  # the scores; below them stand times, which differ
    assert there.split("Start")[0] == here_too.split("Start")[0]


def test_a_killed_training(bench: Bench) -> None:
    run = launch(bench)
    os.kill(trainer(bench), signal.SIGKILL)
    assert_nothing_lost(bench, run, attempts=2)


def test_a_killed_loader_process(bench: Bench) -> None:
    run = launch(bench, "pretrain.simmim.overrides=" + with_workers())
    pid = trainer(bench)
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    loader = next(pid for pid in children if "resource_tracker" not in Path(f"/proc/{pid}/cmdline").read_text())
    os.kill(int(loader), signal.SIGKILL)
    assert_nothing_lost(bench, run, attempts=2)


def with_workers() -> str:
    overrides = yaml.safe_load(pipeline(EPOCHS))["pretrain"]["simmim"]["overrides"]
    return json.dumps([*overrides, "training.workers=1"])


def test_a_rank_that_hangs(bench: Bench) -> None:
    """SIGSTOP: its process lives, and answers nothing. The other rank waits for it as long as it is told to."""
    cluster = "nodes: 2, cpus_per_process: 1, time_limit: 10m, setup: [export MIMBENCH_PEER_TIMEOUT_S=8]"
    run = launch(bench, cluster=cluster)
    stuck = trainer(bench, rank=1)
    os.kill(stuck, signal.SIGSTOP)
    assert_nothing_lost(bench, run, attempts=2, ranks=2)


def test_a_real_time_limit(bench: Bench) -> None:
    """One minute, told 30 s before: longer than the training can take in one go."""
    cluster = "cpus_per_process: 1, time_limit: 1m, stop_notice_s: 30"
    run = launch(bench, cluster=cluster, epochs=400)
    bench.wait_for(lambda: record_of(run).attempts == 2, "it goes on after the limit")
    log = bench.mimbench("pipeline", "logs", "trained", STAGE).stdout
    assert "SIGUSR2: saving after this step" in log
    slurm(bench, "scancel", jobs(bench)[STAGE]["id"])


def test_a_disk_that_is_full_while_a_checkpoint_is_written(bench: Bench) -> None:
    """A limit on the size of files stands for the disk: the kernel refuses the write all the same."""
    submit(bench, "cpus_per_process: 1, time_limit: 10m, setup: [ulimit -f 64]", EPOCHS)
    assert wait_until_empty(bench)[STAGE] == "failed"
    assert "no room to write" in bench.mimbench("pipeline", "status", "trained").stdout
    run = launch(bench)
    assert_nothing_lost(bench, run, attempts=2)


def test_a_truncated_record_of_a_finished_run(bench: Bench) -> None:
    run = launch(bench)
    assert set(wait_until_empty(bench).values()) == {"completed"}
    reference = undisturbed(bench, run)
    os.truncate(run / "record.json", (run / "record.json").stat().st_size // 2)
    assert states(bench)[STAGE] == "failed"
    assert bench.mimbench("pipeline", "resume", "trained").returncode == 0
    assert set(wait_until_empty(bench).values()) == {"completed"}
    assert_same_training(run, reference)
    assert record_of(run).exported_sha256 == record_of(reference).exported_sha256
