"""The command of a person that tells of failures and of the end: what it is given, and that it harms nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from slurm.stage.notify import notify
from tests.slurm.bench import Bench, alive
from tests.slurm.jobs import wait_until_empty

TELL = 'echo "$MIMBENCH_STAGE $MIMBENCH_STATE $MIMBENCH_PIPELINE $MIMBENCH_FOLDER" >> notified.txt; exit 3'
ONE_SEED = ["seeds=[0]", f"notify={json.dumps(TELL)}"]


def notified(bench: Bench) -> list[str]:
    """Return stage and state of each call, in the order of time."""
    path = bench.path / "notified.txt"
    lines = [line.split(maxsplit=3) for line in path.read_text().splitlines()] if path.exists() else []
    assert {(found[2], Path(found[3])) for found in lines} <= {(bench.folder.id, bench.folder.path)}
    return [" ".join(found[:2]) for found in lines]


def test_a_failure_and_the_end_are_notified_here_and_a_command_that_fails_changes_nothing(bench: Bench) -> None:
    bench.fail("pretrain.simmim")
    assert bench.submit(*ONE_SEED).returncode == 1
    assert notified(bench) == ["pretrain.simmim failed", "report failed"]
    bench.repair("pretrain.simmim")
    done = bench.submit(*ONE_SEED)
    assert done.returncode == 0, done.stdout
    assert notified(bench)[2:] == ["report completed"]
    assert bench.submit(*ONE_SEED).returncode == 0
    assert len(notified(bench)) == 3, "nothing was done, so there is nothing to tell"


@pytest.mark.long
def test_a_failure_and_the_end_are_notified_by_the_jobs_of_slurm(slurm_bench: Bench) -> None:
    slurm_bench.fail("pretrain.simmim")
    assert slurm_bench.submit("--cluster", "slurm.yaml", *ONE_SEED).returncode == 0
    wait_until_empty(slurm_bench)
    assert notified(slurm_bench) == ["pretrain.simmim failed", "report failed"]
    slurm_bench.repair("pretrain.simmim")
    assert slurm_bench.mimbench("pipeline", "resume", "small").returncode == 0
    assert {*wait_until_empty(slurm_bench).values()} == {"completed"}
    assert notified(slurm_bench)[2:] == ["report completed"]


def test_a_command_that_hangs_is_killed_with_all_that_it_started(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.fail("pretrain.simmim")
    assert bench.submit("seeds=[0]").returncode == 1
    monkeypatch.setattr("slurm.stage.notify.PATIENCE_S", 0.5)
    command = f"sleep 1000 & echo $! > {bench.path}/child; wait"
    notify(command, bench.folder, bench.folder.read_manifest(), "pretrain.simmim")
    bench.wait_for(lambda: not alive(int((bench.path / "child").read_text())), "what it started is gone")
    assert "notify: ended with exit code -9" in capsys.readouterr().err
    notify("exit 5", bench.folder, bench.folder.read_manifest(), "digits.simmim.seed0")  # skipped: nothing to tell
    assert capsys.readouterr().err == ""
