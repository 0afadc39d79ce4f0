"""What logs of a real Slurm say of a job's end, and which of a log's lines is quoted."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from slurm.graph.stages import Stage
from slurm.state.folder import Entry, Job, Manifest, PipelineFolder
from slurm.state.last_words import LONGEST, ends_by_slurm, last_words
from slurm.state.observe import observe_all

PREEMPTED = """begun
srun: Job step aborted: Waiting up to 12 seconds for job step to finish.
slurmstepd-n1: error: *** STEP 46919.0 ON n1 CANCELLED AT 2026-11-21T21:43:36 DUE TO PREEMPTION ***
slurmstepd-n1: error: *** JOB 46919 ON n1 CANCELLED AT 2026-11-21T21:43:36 DUE TO PREEMPTION ***
srun: error: n1: task 0: Exited with exit code 130
"""
LIMIT = """setup begins
slurmstepd-n1: error: *** JOB 46921 ON n1 CANCELLED AT 2026-11-21T21:44:55 DUE TO TIME LIMIT ***
"""
CANCELLED = """slurmstepd-n1: error: *** STEP 46917.0 ON n1 CANCELLED AT 2026-11-21T21:43:32 ***
slurmstepd-n1: error: *** JOB 46917 ON n1 CANCELLED AT 2026-11-21T21:43:32 ***
"""
BATCH_KILLED = """begun
slurmstepd-n1: error: *** STEP 46918.0 ON n1 FAILED (non-zero exit code or other failure mode) ***
"""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "17_0_log.out"


@pytest.mark.parametrize(
    ("text", "ends"),
    [
        (PREEMPTED, [("PREEMPTION", False), ("PREEMPTION", True)]),
        (2 * PREEMPTED, 2 * [("PREEMPTION", False), ("PREEMPTION", True)]),
        (LIMIT, [("TIME LIMIT", True)]),
        (CANCELLED, [("", False), ("", True)]),
        (BATCH_KILLED, [("", False)]),
        ("the model says: JOB 1 ON n1 CANCELLED", []),
    ],
)
def test_slurm_s_own_words_on_the_end_of_a_job(log: Path, text: str, ends: list[tuple[str, bool]]) -> None:
    log.write_text(text)
    assert [(end.why, end.of_job) for end in ends_by_slurm(log)] == ends


def test_what_ended_an_earlier_start_is_not_taken_for_the_end_of_this_one(log: Path) -> None:
    log.write_text(LIMIT)
    at = time.mktime((2026, 11, 21, 21, 44, 55, 0, 0, -1))
    assert len(ends_by_slurm(log, since=at - 30)) == 1
    assert ends_by_slurm(log, since=at + 30) == []


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("step 1\nCUDA error: out of memory\nepoch 2\n" + PREEMPTED, "CUDA error: out of memory"),
        ("one\ntwo\n" + LIMIT, "setup begins"),
        ("error: \x1b[2Jgone\n", "error: \\x1b[2Jgone"),
        ("\n \n", ""),
        ("error " + "x" * 1000, "error " + "x" * (LONGEST - 9) + "..."),
    ],
)
def test_the_last_telling_line_is_quoted_escaped_and_bounded(log: Path, text: str, quoted: str) -> None:
    log.write_text(text)
    assert last_words(log) == quoted


def test_only_the_end_of_a_log_is_read_and_only_a_file(log: Path) -> None:
    log.write_bytes(b"error: early\n" + b"\xff" * 2**17 + b"\nlast\n")
    assert last_words(log) == "last"
    log.unlink()
    os.mkfifo(log)
    assert (last_words(log), last_words(None)) == ("", "")


@pytest.mark.parametrize(
    ("text", "state", "words"),
    [
        (LIMIT, "failed", "TIMEOUT: its time limit was over before the stage began, in `setup`: setup begins"),
        (CANCELLED, "stopped", "its job was cancelled (scancel) before the stage began"),
        (PREEMPTED, "stopped", "Slurm ended its job (preemption) before the stage began: begun"),
        ("bash: line 3: no_such: command not found\n", "failed", "its job ended before the stage began: bash: line 3"),
        (None, "stopped", "its job left the queue before the stage began: was it cancelled?"),
        ("cancel", "stopped", "cancelled by `mimbench pipeline cancel` before it began"),
    ],
)
def test_a_job_that_is_gone_and_began_nothing_is_called_by_what_ended_it(
    tmp_path: Path, text: str | None, state: str, words: str
) -> None:
    folder = PipelineFolder(tmp_path)
    stage = Stage(name="pretrain.simmim", argv=("pretrain", "--announce", "a.json"), announces=True)
    seen = "cancelled" if text == "cancel" else "queued"
    entry = Entry(stage=stage, job=Job(executor="slurm", id="17"), state=seen)
    manifest = Manifest(id="study", cluster="slurm", workdir=str(tmp_path), code="code", entries=(entry,))
    folder.create()
    folder.logs(stage.name).mkdir()
    (folder.logs(stage.name) / "16_0_log.out").write_text("error: of an earlier job\n")
    if text not in (None, "cancel"):
        (folder.logs(stage.name) / "17_0_log.out").write_text(str(text))
    view = observe_all(folder, manifest, queue={})[stage.name]
    assert view.state == state
    assert view.why.startswith(words)
