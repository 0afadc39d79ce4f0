"""A working folder with a pipeline of cheap stages, and the real command run in it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.runs.folder import RunFolder, follow
from benchmarks.runs.metrics_log import read_progress
from slurm.state.folder import PipelineFolder, list_pipelines
from tests.support.command import ROOT, here

STUB = Path(__file__).parent / "stub"
HELD = Path(__file__).parent / "held"
PATIENCE_S = 120.0
READING = ("list", "logs", "plan", "status")
"""Words after `mimbench pipeline` that change nothing."""

PIPELINE = """
name: small
pretrain:
  simmim: {recipe: digits_simmim, data: data}
encoders:
  simmim: {from: pretrain.simmim}
  scratch: {ref: "random:digits_swin"}
tasks:
  digits: {recipe: digits_finetune, data: data}
seeds: [0, 1]
baseline: scratch
"""
ONE_SEED = PIPELINE.replace("seeds: [0, 1]", "seeds: [0]")
STAGES = [
    "pretrain.simmim",
    *["digits.simmim.seed0", "digits.simmim.seed1", "digits.scratch.seed0", "digits.scratch.seed1"],
    "report",
]
TRAINED = STAGES[:-1]


class Bench:
    """One test's working folder."""

    def __init__(self, path: Path, environment: dict[str, str] | None = None, stub: Path | None = STUB) -> None:
        """Without STUB, stages really train; HELD lets a test hold a pretraining."""
        self.path, self.is_cheap = path, stub == STUB
        self.desk = path / "desk"
        self.desk.mkdir()
        (path / "data").mkdir()
        (path / "pipeline.yaml").write_text(PIPELINE)
        self.environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([*([str(stub)] if stub else []), str(ROOT)]),
            "CHEAP_STAGES": str(self.desk),
            "COLUMNS": "160",
            **(environment or {}),
        }
        self.prefix: list[str] = []
        """What stands before the command: nothing, or what runs it as another user."""
        self.umask = -1
        """The command's umask; -1: that of the test."""
        self.started: list[subprocess.Popen[bytes]] = []

    def mimbench(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the command to its end; in this process where it only reads, as this person, and starts nothing.

        A process writes to a file: a pipe would also wait for orphaned stages.
        """
        if arguments[:1] == ("pipeline",) and arguments[1] in READING and not self.prefix and self.umask == -1:
            return self._here(*self._completed(arguments))
        process = self.start(*arguments)
        code = process.wait(PATIENCE_S)
        return subprocess.CompletedProcess(arguments, code, self.output(process))

    def _here(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.path)
            for name, value in self.environment.items():
                patch.setenv(name, value)
            done = here(*arguments)
        return subprocess.CompletedProcess(arguments, done.returncode, done.stdout + done.stderr)

    def _completed(self, arguments: tuple[str, ...]) -> tuple[str, ...]:
        """Return the arguments with what cheap stages need: they read no data, of which there is none."""
        if self.is_cheap and arguments[:1] == ("pipeline",) and arguments[1] in ("plan", "submit", "resume"):
            return (*arguments, "--no-data-check")
        return arguments

    def submit(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.mimbench("pipeline", "submit", "pipeline.yaml", *arguments)

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start the command as a shell would: leader of a process group of its own."""
        arguments = self._completed(arguments)
        with open(self.path / f"output{len(self.started)}.txt", "wb") as output:
            process = subprocess.Popen(
                [*self.prefix, sys.executable, "-m", "mimbench", *arguments],
                cwd=self.path,
                env=self.environment,
                umask=self.umask,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.started.append(process)
        return process

    def output(self, process: subprocess.Popen[bytes]) -> str:
        return (self.path / f"output{self.started.index(process)}.txt").read_text()

    def diary(self, event: str = "") -> list[dict[str, Any]]:
        """Return what the stages wrote down, in the order of time; only one kind of event where given."""
        try:
            lines = (self.desk / "diary.jsonl").read_text().splitlines()
        except FileNotFoundError:
            return []
        events = [json.loads(line) for line in lines]
        return [found for found in events if found["event"].startswith(event)]

    def begun(self) -> list[str]:
        """Return the trainings that were begun, sorted, one entry for each beginning."""
        return sorted(found["stage"] for found in self.diary("begins"))

    def hold(self, stage: str) -> None:
        (self.desk / f"{stage}.hold").touch()

    def let_go(self, stage: str) -> None:
        (self.desk / f"{stage}.hold").unlink()

    def fail(self, stage: str) -> None:
        (self.desk / f"{stage}.fail").touch()

    def repair(self, stage: str) -> None:
        (self.desk / f"{stage}.fail").unlink()

    def step_of(self, stage: str) -> int:
        """Return the last step that a stage has logged; 0 before its first."""
        try:
            progress = read_progress(RunFolder(follow(self.folder.announcement(stage))).metrics)
        except (ValueError, OSError):
            return 0
        return progress.step if progress is not None else 0

    @property
    def folder(self) -> PipelineFolder:
        (folder,) = list_pipelines(self.path / "pipelines")
        return folder

    def pid_of(self, stage: str) -> int:
        """Wait until a stage is at work; return its process id."""
        self.wait_for(lambda: stage in self.begun(), f"{stage} begins")
        attempt = self.folder.read_attempt(stage)
        assert attempt is not None
        return attempt.pid

    def wait_for(self, condition: Callable[[], bool], what: str, every_s: float = 0.05) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            if time.monotonic() > deadline:
                outputs = "\n".join(self.output(process) for process in self.started)
                raise TimeoutError(f"waited in vain: {what}\n{outputs}")
            time.sleep(every_s)

    def close(self) -> None:
        """End what a failed test left running: the launchers' process groups, and no other."""
        for process in self.started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def alive(pid: int) -> bool:
    """Tell whether a process runs; one that ended and was not yet collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def members(session: int) -> list[int]:
    """Return the living processes of a session."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(int(folder.name))
    return found
