"""What ends a stage is called by its name: in `status`, and in the messages of every command."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.slurm.bench import Bench
from tests.slurm.conftest import open_slurm_bench
from tests.slurm.faults.injected import STAGE, launch, slurm
from tests.slurm.jobs import queue, states, wait_until_empty
from tests.support.disk import small_disk

pytestmark = pytest.mark.faults


@pytest.fixture
def bench(tmp_path: Path, slurm_environment: dict[str, str]) -> Iterator[Bench]:
    with open_slurm_bench(tmp_path, slurm_environment) as found:
        yield found


def says(bench: Bench, words: str, stage: str = STAGE) -> bool:
    """Tell whether `status` shows these words as the state of a stage, in however many lines."""
    lines = bench.mimbench("pipeline", "status", "small").stdout.splitlines()
    head = next(line for line in lines if line.startswith("stage "))
    first = next(number for number, line in enumerate(lines) if line.startswith(f"{stage} "))
    row = itertools.takewhile(lambda line: line.startswith(" "), lines[first + 1 :])
    cell = "".join(line[head.index("state") : head.index("step") - 1] for line in [lines[first], *row])
    return "".join(words.split()) in "".join(cell.split())


def begin(bench: Bench, *options: str) -> str:
    """Submit the pipeline; return the job of the pretraining, which waits in step 3."""
    bench.hold(STAGE)
    job = launch(bench, "partition: main", *options)
    bench.wait_for(lambda: bench.step_of(STAGE) == 3, "it waits in step 3")
    return job


def batch_shell(job: str) -> int:
    """Return the process id of a job's batch script."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if f"/job{int(job):05d}/slurm_script".encode() in command:
            return int(process.name)
    raise AssertionError(f"job {job} has no batch script")


def test_a_setup_that_fails_in_its_first_line_ends_there_and_is_quoted(bench: Bench) -> None:
    """A later line of it would succeed. The control sequence is shown escaped."""
    setup = r"setup: ['printf ''loading \033[31mcuda/99\n''', 'no_such_module load cuda/99', 'touch later']"
    launch(bench, setup, "fruitless_restarts: 0")
    assert wait_until_empty(bench)[STAGE] == "failed"
    assert not (bench.path / "later").exists()
    assert bench.begun() == []
    assert says(bench, "failed: `setup` ended with exit code 127: loading \\x1b[31mcuda/99 | ")
    assert says(bench, "no_such_module: command not found")
    assert states(bench)["digits.simmim.seed0"] == "skipped"


def test_a_time_limit_that_falls_into_setup_is_called_so(bench: Bench) -> None:
    job = launch(bench, "setup: ['echo loading cuda/99', 'sleep 600']", "fruitless_restarts: 0")
    slurm(bench, "scontrol", "update", f"JobId={job}", "TimeLimit=1")
    bench.wait_for(lambda: job not in queue(bench), "its job has ended", every_s=0.5)
    assert bench.begun() == []
    assert says(bench, "failed: TIMEOUT: its time limit was over before the stage began, in `setup`: loading cuda/99")


def test_suspended_is_called_so_and_goes_on(bench: Bench) -> None:
    job = begin(bench)
    slurm(bench, "scontrol", "suspend", job)
    assert says(bench, "suspended: by Slurm or its administrators")
    slurm(bench, "scontrol", "resume", job)
    bench.wait_for(lambda: states(bench)[STAGE] == "running", "it runs again")


def test_preempted_again_and_again_is_called_so(bench: Bench) -> None:
    begin(bench)
    command = ["sbatch", "--parsable", "--partition=high", "--nodes=2", "--exclusive", "--output=/dev/null"]
    for times, words in ((1, "preempted once, at step 3 of 5"), (2, "preempted 2 times, ")):
        other = slurm(bench, *command, "--wrap=sleep 600").strip()
        bench.wait_for(lambda: states(bench)[STAGE] == "queued", "it waits again")
        assert says(bench, f"; {words}")
        slurm(bench, "scancel", other)
        bench.wait_for(lambda n=times + 1: bench.begun().count(STAGE) == n, "it begins again")  # type: ignore[misc]


def test_a_killed_batch_shell_is_not_called_a_request(bench: Bench) -> None:
    job = begin(bench)
    os.kill(batch_shell(job), signal.SIGKILL)
    assert wait_until_empty(bench)[STAGE] == "failed"
    assert says(bench, "its batch script was killed, upon which Slurm ended the stage, at step 3 of 5")


def test_cancelled_by_cancel_and_cancelled_by_scancel_differ(bench: Bench) -> None:
    job = begin(bench)
    slurm(bench, "scancel", job)
    bench.wait_for(lambda: job not in queue(bench), "it has ended")
    assert says(bench, "stopped: cancelled (scancel), at step 3 of 5")
    assert bench.mimbench("pipeline", "resume", "small").returncode == 0
    bench.wait_for(lambda: states(bench)[STAGE] == "running", "it runs again")
    assert bench.mimbench("pipeline", "cancel", "small").returncode == 0
    wait_until_empty(bench)
    assert says(bench, "stopped: cancelled by `mimbench pipeline cancel`, at step 4 of 5")
    assert says(bench, "stopped: cancelled by `mimbench pipeline cancel`", "report")


def test_a_failed_stage_is_shown_with_the_last_telling_line_of_its_log(bench: Bench) -> None:
    """Its interpreter cannot be started; what the log says is escaped and bounded."""
    python = bench.path / "python"
    python.write_text("#!/bin/sh\nprintf 'error: no \\033[1mlicence %0300d\\n' 7 >&2\necho bye\nexit 9\n")
    python.chmod(0o755)
    launch(bench, f"python: {python}", "fruitless_restarts: 0")
    assert wait_until_empty(bench)[STAGE] == "failed"
    assert says(bench, f"failed: error: no \\x1b[1mlicence {'0' * 100}")
    assert says(bench, "... (exit code 9)")


def test_an_edited_file_waits_in_the_queue_for_the_pretraining_that_both_have(bench: Bench) -> None:
    """Its own job depends on the other pipeline's live one, which goes on; all is done, and trained once."""
    job, first = begin(bench), bench.folder.id
    text = (bench.path / "pipeline.yaml").read_text()
    (bench.path / "edited.yaml").write_text(text.replace("name: small", "name: edited"))
    submitted = bench.mimbench("pipeline", "submit", "edited.yaml", "--cluster", "cluster.yaml", "seeds=[1]")
    assert f"waits in the queue for job {job} of {first}, which does the same work" in submitted.stdout
    shown = slurm(bench, "squeue", "--noheader", "--format=%j %T %r").splitlines()
    states_of = [line.split("/")[1] for line in shown if f"/{STAGE} " in line]
    assert sorted(states_of) == [f"{STAGE} PENDING Dependency", f"{STAGE} RUNNING None"]
    bench.let_go(STAGE)
    bench.wait_for(lambda: queue(bench) == [], "all jobs have ended", every_s=0.5)
    listed = bench.mimbench("pipeline", "list").stdout
    assert listed.count("4 completed") == 2, listed
    assert bench.begun().count(STAGE) == 1


def test_a_disk_that_is_full_when_a_stage_ends_does_not_undo_its_work(bench: Bench) -> None:
    """The pipeline's own disk; runs lie on another. Its children begin, and fail there; nothing is trained twice."""
    with small_disk(bench.path / "pipelines", size_mb=8) as disk:
        job = begin(bench)
        with open(disk / "filler", "wb", buffering=0) as filler, contextlib.suppress(OSError):
            while True:
                filler.write(bytes(4096))
        bench.let_go(STAGE)
        bench.wait_for(lambda: job not in queue(bench), "its job has ended")
        assert states(bench)[STAGE] == "completed"
        wait_until_empty(bench)
        assert not says(bench, "cancelled", "digits.simmim.seed0")
        (disk / "filler").unlink()
        assert bench.mimbench("pipeline", "resume", "small").returncode == 0
        assert set(wait_until_empty(bench).values()) == {"completed"}
        assert bench.begun().count(STAGE) == 1
