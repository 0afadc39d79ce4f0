"""The life of a run's record, with real second processes and real signals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest

from benchmarks.errors import Stopped, UserError, WorkFailed
from benchmarks.runs.folder import RunFolder, announce, completed, follow, open_run, read_record
from benchmarks.runs.record import MetricValue
from tests.benchmarks.examples import record
from tests.support.command import ROOT

HOLD = """
import os, sys, time
from pathlib import Path
from benchmarks.runs.folder import RunFolder, open_run
from tests.benchmarks.examples import record

with open_run(RunFolder(Path(sys.argv[1])), record(), "recipe"):
    if sys.argv[2] == "with a worker" and os.fork() == 0:
        os.close(1)
        time.sleep(60)
        os._exit(0)
    print("holding", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "run")


def hold(folder: RunFolder, how: str = "alone") -> subprocess.Popen[str]:
    """Start another process, in a session of its own, that opens the run and waits for its standard input to end."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder.path), how],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "holding\n"
    return process


def test_completed_run(folder: RunFolder) -> None:
    with open_run(folder, record(), "epochs: 1\n") as run:
        started = read_record(folder.path)
        assert started is not None
        assert started.status == "started"
        assert completed(folder.path) is None
        run.update(steps=7)
        assert json.loads(folder.record.read_text())["steps"] == 7
        run.complete(metrics={"top1": MetricValue(last=81.5, best=82.0, best_epoch=9)})
    found = completed(folder.path)
    assert found is not None
    assert found.metrics["top1"].last == 81.5
    assert (found.steps, found.attempts, found.error) == (7, 1, None)
    assert found.finished_at is not None
    assert datetime.fromisoformat(found.finished_at).utcoffset() is not None
    assert folder.recipe.read_text() == "epochs: 1\n"


def test_failed_run_keeps_its_reason(folder: RunFolder) -> None:
    with pytest.raises(WorkFailed), open_run(folder, record(), ""):
        raise WorkFailed("the loss is not finite at step 12")
    found = read_record(folder.path)
    assert found is not None
    assert (found.status, found.error) == ("failed", "WorkFailed: the loss is not finite at step 12")
    assert completed(folder.path) is None


@pytest.mark.parametrize(
    ("error", "noted"), [(Stopped("at step 5"), "at step 5"), (KeyboardInterrupt(), "interrupted")]
)
def test_stopped_run_is_preempted(folder: RunFolder, error: BaseException, noted: str) -> None:
    with pytest.raises(type(error)), open_run(folder, record(), ""):
        raise error
    found = read_record(folder.path)
    assert found is not None
    assert (found.status, found.error) == ("preempted", noted)


def test_next_attempt_carries_count_time_start_and_skipped_files_over(folder: RunFolder) -> None:
    first = record()
    first = first.model_copy(update={"data": first.data.model_copy(update={"unreadable": ("broken.png",)})})
    with pytest.raises(WorkFailed), open_run(folder, first, ""):
        raise WorkFailed("crash")
    before = read_record(folder.path)
    with open_run(folder, record(started_at="2026-02-02T00:00:00+00:00"), "") as run:
        run.complete()
    after = completed(folder.path)
    assert before is not None
    assert after is not None
    assert (before.attempts, after.attempts) == (1, 2)
    assert after.seconds > before.seconds > 0
    assert after.started_at == "2026-01-01T00:00:00+00:00"
    assert after.data.unreadable == ("broken.png",)
    assert after.error is None


def test_second_process_is_refused_while_the_first_works(folder: RunFolder) -> None:
    first = hold(folder)
    with pytest.raises(UserError) as caught, open_run(folder, record(), ""):
        pytest.fail("two processes work on one run")
    assert f"run = {folder.path}\n  rule:   worked on by one process at a time" in str(caught.value)
    found = read_record(folder.path)
    assert found is not None
    assert (found.status, found.attempts) == ("started", 1)
    first.communicate()
    assert first.returncode == 0


@pytest.mark.parametrize("how", ["alone", "with a worker"])
def test_killed_run_can_be_started_again_at_once(folder: RunFolder, how: str) -> None:
    process = hold(folder, how)
    process.kill()
    process.wait()
    try:
        with open_run(folder, record(), "") as run:  # though the forked worker still lives
            assert run.record.attempts == 2
            run.complete()
    finally:
        if how == "with a worker":
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    assert completed(folder.path) is not None


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('{"schema_version": 1, "run', "EOF"),
        ("[]", "object"),
        ('{"schema_version": 1}', "run_id: Field required"),
        ("", "EOF"),
    ],
)
def test_damaged_record_is_named_and_counts_as_not_completed(folder: RunFolder, content: str, reason: str) -> None:
    folder.path.mkdir()
    folder.record.write_text(content)
    assert completed(folder.path) is None
    with pytest.raises(UserError) as caught:
        read_record(folder.path)
    assert str(caught.value).startswith(f"{folder.record} = (damaged)\n  rule:   a run record\n")
    assert reason in str(caught.value)
    with open_run(folder, record(), "") as run:
        run.complete()
    assert completed(folder.path) is not None


def test_folder_in_the_place_of_a_record_is_explained(folder: RunFolder) -> None:
    folder.record.mkdir(parents=True)
    assert completed(folder.path) is None
    with pytest.raises(UserError, match=r"record\.json = a folder where an ordinary file belongs\n  rule:"):
        read_record(folder.path)
    with pytest.raises(UserError, match=r"record\.json = is a directory"), open_run(folder, record(), ""):
        raise AssertionError("it must not begin")


def test_newer_record_is_refused_not_misread(folder: RunFolder) -> None:
    folder.path.mkdir()
    folder.record.write_text(record().model_dump_json().replace('"schema_version":4', '"schema_version":5'))
    with pytest.raises(UserError, match="version 5; this mimbench reads up to 4"):
        read_record(folder.path)


def test_record_refuses_a_score_that_is_no_number() -> None:
    with pytest.raises(ValueError, match="finite"):
        MetricValue(last=float("nan"), best=1.0, best_epoch=0)


def test_no_folder_has_no_record(tmp_path: Path) -> None:
    assert read_record(tmp_path / "none") is None
    assert completed(tmp_path / "none") is None


def test_announcement_is_followed_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    announce(Path("stages/pretrain.json"), Path("runs/a"))
    monkeypatch.chdir("/")
    assert follow(tmp_path / "stages" / "pretrain.json") == tmp_path / "runs" / "a"


@pytest.mark.parametrize("content", [None, "", "{}", "[]", '{"run_dir": 3}', "\udcff"])
def test_file_that_is_no_announcement_is_refused(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "pretrain.json"
    if content is not None:
        path.write_text(content, errors="surrogateescape")
    with pytest.raises(UserError, match="a file written by --announce"):
        follow(path)
