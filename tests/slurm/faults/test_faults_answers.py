"""Answers of a site's commands are checked before they are believed: banners, wrappers, silence, half an answer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from slurm.state.folder import hold
from tests.slurm.bench import TRAINED, Bench
from tests.slurm.conftest import open_slurm_bench
from tests.slurm.jobs import jobs, queue, states
from tests.slurm.waiting_jobs import STAGE, STAGES, SUBMIT, ids, submit_waiting, unwrap, wrap

pytestmark = pytest.mark.faults
BANNER = "echo 'Welcome! Maintenance of job 99 at 12|30'; echo 4242; echo"


@pytest.mark.parametrize(
    "script",
    [f'{BANNER}; exec $real "$@"', "exit 0", '$real "$@" | head -n 1', f"{BANNER}; exit 0", 'sleep 3; exec $real "$@"'],
    ids=["a banner", "nothing", "one line of many", "a banner alone", "late"],
)
def test_live_jobs_are_found_whatever_squeue_writes(slurm_bench: Bench, script: str) -> None:
    before = submit_waiting(slurm_bench)
    wrap(slurm_bench, "squeue", script)
    again = slurm_bench.mimbench(*SUBMIT)
    assert again.stdout.count("live already") == STAGES, again.stdout
    shown = slurm_bench.mimbench("pipeline", "status", "small")
    assert (shown.returncode, shown.stdout.count("queued: ")) == (0, STAGES)
    unwrap(slurm_bench)
    assert {*queue(slurm_bench)} == before == ids(slurm_bench)


@pytest.mark.parametrize(
    ("wrappers", "why"),
    [
        ({"squeue": '$real "$@" | head -c 60'}, "the answer of `squeue` is cut off"),
        (
            {"squeue": "exit 0", "scontrol": "exit 0"},
            "is gone: the answer of `scontrol show job` is: no",
        ),
        ({"squeue": "exit 0", "scontrol": "echo down for repair; exit 1"}, "show job` is: down for repair"),
    ],
    ids=["cut", "silent", "down"],
)
def test_nothing_is_submitted_where_nobody_can_tell_what_lives(
    slurm_bench: Bench, wrappers: dict[str, str], why: str
) -> None:
    before = submit_waiting(slurm_bench)
    for program, script in wrappers.items():
        wrap(slurm_bench, program, script)
    refused = slurm_bench.mimbench(*SUBMIT)
    assert refused.returncode == 1
    assert why in refused.stdout
    assert "Traceback" not in refused.stdout
    assert slurm_bench.mimbench("pipeline", "cancel", "small").returncode == 1
    assert "from files alone" in slurm_bench.mimbench("pipeline", "status", "small").stdout
    unwrap(slurm_bench)
    assert {*queue(slurm_bench)} == before == ids(slurm_bench)


@pytest.mark.parametrize(
    "script",
    [
        f'{BANNER}; exec $real "$@"',
        f'$real "$@" || exit; {BANNER}; echo "thank you for job 98"',
        '$real "$@" >/dev/null',
        'echo checking; sleep 1; $real "$@" | sed s/$/\\;throwaway/',
    ],
    ids=["before", "behind", "swallowed", "with the cluster"],
)
def test_the_job_that_was_submitted_is_the_one_that_is_written_down(slurm_bench: Bench, script: str) -> None:
    wrap(slurm_bench, "sbatch", script)
    found = submit_waiting(slurm_bench)
    unwrap(slurm_bench)
    assert len(found) == STAGES
    assert {*queue(slurm_bench)} == found


def test_what_scancel_does_not_cancel_is_not_called_cancelled(slurm_bench: Bench) -> None:
    before = submit_waiting(slurm_bench)
    wrap(slurm_bench, "scancel", "exit 0")
    failed = slurm_bench.mimbench("pipeline", "cancel", "small")
    unwrap(slurm_bench)
    assert failed.returncode == 1
    assert all(f"{job} (PENDING)" in failed.stdout for job in before)
    assert "cancelled small" not in failed.stdout


def test_a_stage_that_is_at_work_without_a_job_is_not_submitted(slurm_bench: Bench) -> None:
    submit_waiting(slurm_bench)
    assert slurm_bench.mimbench("pipeline", "cancel", "small").returncode == 0
    with hold(slurm_bench.folder.lock(STAGE), "a stage", slurm_bench.folder.id):
        refused = slurm_bench.mimbench(*SUBMIT)
    assert refused.returncode == 1
    assert f"nothing was submitted: stage {STAGE} is at work in process " in refused.stdout
    assert queue(slurm_bench) == []


@pytest.fixture
def oddly_named(tmp_path: Path, slurm_environment: dict[str, str]) -> Iterator[Bench]:
    place = tmp_path / "50%a of %j, %x%%A"
    place.mkdir()
    with open_slurm_bench(place, slurm_environment) as found:
        yield found


def test_what_slurm_would_replace_in_a_path_means_itself(oddly_named: Bench) -> None:
    submitted = oddly_named.submit("--cluster", "slurm.yaml")
    assert submitted.returncode == 0, submitted.stdout
    oddly_named.wait_for(lambda: {*map(states(oddly_named).get, TRAINED)} == {"completed"}, "all are trained")
    for stage in TRAINED:  # of the pretraining a job, of the others an array
        assert (oddly_named.folder.logs(stage) / f"{jobs(oddly_named)[stage]['id']}_0_log.out").is_file()
    assert "$ mimbench pretrain" in oddly_named.mimbench("pipeline", "logs", "small", STAGE).stdout
