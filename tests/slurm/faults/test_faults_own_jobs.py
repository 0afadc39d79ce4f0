"""A folder acts on its own jobs alone, whatever other jobs are called, and wherever the folder has come from."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.slurm.bench import Bench
from tests.slurm.conftest import open_slurm_bench
from tests.slurm.jobs import queue
from tests.slurm.waiting_jobs import STAGE, STAGES, SUBMIT, contents, ids, submit_waiting

pytestmark = pytest.mark.faults


@pytest.fixture
def two_checkouts(tmp_path: Path, slurm_environment: dict[str, str]) -> Iterator[tuple[Bench, Bench]]:
    """Two working directories with the same pipeline file."""
    with contextlib.ExitStack() as stack:
        found = []
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            found.append(stack.enter_context(open_slurm_bench(tmp_path / name, slurm_environment)))
        yield found[0], found[1]


def at(bench: Bench, path: Path) -> Bench:
    """Return the same bench in another place."""
    other = Bench.__new__(Bench)
    other.__dict__ = {**bench.__dict__, "path": path, "started": []}
    return other


def slurm(bench: Bench, *command: str) -> str:
    return subprocess.run(command, env=bench.environment, capture_output=True, text=True, check=True).stdout


def test_two_checkouts_of_one_pipeline_leave_each_other_s_jobs_alone(two_checkouts: tuple[Bench, Bench]) -> None:
    one, other = two_checkouts
    first = submit_waiting(one)
    second = submit_waiting(other)
    assert one.folder.id == other.folder.id
    assert len(first | second) == 2 * STAGES
    assert {*queue(one)} == first | second
    again = other.mimbench(*SUBMIT).stdout
    assert again.count("live already") == STAGES
    assert "left alone, another folder's jobs of the same name: " in again

    cancelled = one.mimbench("pipeline", "cancel", "small").stdout
    for job in first:
        assert f"(job {job})" in cancelled
    assert not any(f"(job {job})" in cancelled for job in second)
    assert {*queue(one)} == second
    assert "nothing was running" in one.mimbench("pipeline", "cancel", "small").stdout
    assert {*queue(one)} == second
    assert other.mimbench("pipeline", "status", "small").stdout.count("queued: BeginTime") == 2


def test_a_folder_that_was_copied_or_moved_acts_on_nothing_that_is_elsewhere(slurm_bench: Bench) -> None:
    before = submit_waiting(slurm_bench)
    original = contents(slurm_bench.path / "pipelines")
    copy = at(slurm_bench, slurm_bench.path.with_name("copy"))
    shutil.copytree(slurm_bench.path, copy.path, symlinks=True)
    for command in ("resume", "cancel"):
        refused = copy.mimbench("pipeline", command, "small")
        assert refused.returncode == 2, refused.stdout
        assert f"it was copied from {slurm_bench.folder.path.resolve()}" in refused.stdout
    shown = copy.mimbench("pipeline", "status", "small").stdout
    assert "from files alone: the folder was copied from " in shown
    submitted = copy.mimbench(*SUBMIT)
    assert submitted.returncode == 0, submitted.stdout
    assert "the jobs of that place are left alone" in submitted.stdout
    assert len(ids(copy)) == STAGES
    assert {*queue(slurm_bench)} == before | ids(copy)
    assert contents(slurm_bench.path / "pipelines") == original
    assert copy.mimbench("pipeline", "cancel", "small").returncode == 0
    assert {*queue(slurm_bench)} == before

    moved = at(slurm_bench, slurm_bench.path.with_name("moved"))
    slurm_bench.path.rename(moved.path)
    refused = moved.mimbench("pipeline", "resume", "small")
    assert "it was moved from " in refused.stdout
    assert moved.mimbench(*SUBMIT).returncode == 0
    assert {*queue(moved)} == before | ids(moved)
    assert not slurm_bench.path.exists()
    moved.path.rename(slurm_bench.path)


def test_a_job_whose_folder_was_replaced_does_not_run_in_the_new_one(slurm_bench: Bench) -> None:
    old = submit_waiting(slurm_bench)
    stale = next(job for job in old if job == min(old, key=int))
    log = slurm_bench.folder.path / "logs" / STAGE / f"{stale}_0_log.out"
    shutil.rmtree(slurm_bench.path / "pipelines")
    new = submit_waiting(slurm_bench)
    assert len(old | new) == 2 * STAGES
    slurm(slurm_bench, "scontrol", "update", f"jobid={stale}", "StartTime=now")
    slurm_bench.wait_for(lambda: stale not in queue(slurm_bench), "the stale job has ended", every_s=0.5)
    assert "is not the folder that submitted this job" in log.read_text()
    assert slurm_bench.begun() == []
    assert new <= {*queue(slurm_bench)}


def test_jobs_of_a_version_without_marks_are_found_by_their_recorded_ids(slurm_bench: Bench) -> None:
    before = submit_waiting(slurm_bench)
    (slurm_bench.folder.path / ".mark.json").unlink()
    for job in before:
        slurm(slurm_bench, "scontrol", "update", f"jobid={job}", "Comment=by hand")
    resumed = slurm_bench.mimbench("pipeline", "resume", "small")
    assert resumed.stdout.count("live already") == STAGES, resumed.stdout
    assert {*queue(slurm_bench)} == before == ids(slurm_bench)
    assert slurm_bench.mimbench("pipeline", "cancel", "small").returncode == 0
    assert queue(slurm_bench) == []
