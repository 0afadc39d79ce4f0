"""A site's accounting that dies does nothing to pipelines: they ask squeue and their own files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.slurm.bench import Bench
from tests.slurm.conftest import open_slurm_bench, real_slurm
from tests.slurm.faults.injected import DONE, STAGE, assert_done_by, launch
from tests.slurm.jobs import queue, states
from tests.slurm.throwaway_accounting import AccountedCluster

pytestmark = pytest.mark.faults


@pytest.fixture(scope="module")
def cluster() -> Iterator[AccountedCluster]:
    with real_slurm(AccountedCluster) as found:
        yield found


@pytest.fixture
def bench(tmp_path: Path, cluster: AccountedCluster) -> Iterator[Bench]:
    with open_slurm_bench(tmp_path, cluster.environment) as found:
        yield found


def accounted(cluster: AccountedCluster, job: str) -> str | None:
    """Return the state in which the accounts have a job, empty where they do not; None when nobody answers."""
    asked = cluster.ask("sacct", "--noheader", "--allocations", "--format=State", "--jobs", job)
    return asked.stdout.strip() if asked.returncode == 0 else None


@pytest.mark.parametrize("daemon", ["slurmdbd", "mariadbd"])
def test_dead_accounting_reaches_no_stage(bench: Bench, cluster: AccountedCluster, daemon: str) -> None:
    bench.hold(STAGE)
    job = launch(bench)
    bench.pid_of(STAGE)
    bench.wait_for(lambda: accounted(cluster, job) == "RUNNING", "the accounts have the job", every_s=0.5)
    cluster.kill(daemon)
    try:
        assert accounted(cluster, job) is None
        status = bench.mimbench("pipeline", "status", "small")
        assert status.returncode == 0
        assert "from files alone" not in status.stdout
        assert states(bench)[STAGE] == "running"
        waiting = queue(bench)
        assert launch(bench) == job
        assert set(queue(bench)) <= set(waiting)  # nothing anew; the supervised baseline may have ended meanwhile
        bench.let_go(STAGE)
        assert_done_by(bench, job, beginnings=1)
        assert accounted(cluster, job) is None
    finally:
        getattr(cluster, f"start_{daemon}")()
    resumed = bench.mimbench("pipeline", "resume", "small")
    assert resumed.returncode == 0
    assert resumed.stdout.count("completed already") == len(DONE) + 1
    assert queue(bench) == []
    bench.wait_for(lambda: accounted(cluster, job) == "COMPLETED", "the accounts have caught up", every_s=0.5)
