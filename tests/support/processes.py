"""`mimbench` in processes of its own: one, or several that train one run together as a launcher starts them.

Each is forked from a server that has imported torch and timm already, since these imports cost several times as much as
the few steps of a test's training. That a command also starts from nothing is proved by `tests.support.command`, and by
the stages of pipelines, which Slurm and the launcher start as programs.
"""

from __future__ import annotations

import atexit
import faulthandler
import functools
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import wait
from typing import cast

import mimbench
from tests.support.command import ROOT
from tests.support.ports import free_ports

AFTER_A_FAILURE_S = 60
STACKS = signal.SIGXCPU
"""Has a process write the stacks of its threads; neither mimbench nor Slurm knows this signal."""
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    [
        "pretrain.run.train",
        "transfer.classification.finetune",
        *(f"transfer.{kind}.train" for kind in ("detection", "segmentation", "video")),
    ]
)


class Process:
    """A running process: as much of `subprocess.Popen` as the tests need, with its texts kept in files."""

    def __init__(self, call: Callable[[], int | None], environment: Mapping[str, str]) -> None:
        self._output, self._messages = (tempfile.NamedTemporaryFile("r") for _ in range(2))  # noqa: SIM115 (deleted with this)
        files = (self._output.name, self._messages.name)
        self._process = FORKS.Process(target=_work, args=(call, {**os.environ, **environment}, files))
        self._process.start()
        atexit.register(self.end)

    @property
    def sentinel(self) -> int:
        """What is ready for reading once it has ended."""
        return self._process.sentinel

    def poll(self) -> int | None:
        """Return the exit code, negative where a signal ended it; None while it runs."""
        return self._process.exitcode

    def wait(self, timeout: float = 240) -> int:
        """Wait for the end; return the exit code."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            self.end()
            raise subprocess.TimeoutExpired(str(self._process), timeout, self.said(), self.complained())
        return self.end()

    def end(self) -> int:
        """Return the exit code, which is negative for a process that still ran: its stacks are among its messages."""
        if self._process.is_alive():
            self.send_signal(STACKS)
            self._process.join(1)
            self._process.kill()
            self._process.join()
        atexit.unregister(self.end)
        return cast(int, self._process.exitcode)

    def send_signal(self, number: signal.Signals) -> None:
        assert self._process.pid is not None
        os.kill(self._process.pid, number)

    def said(self) -> str:
        """Return all of its standard output so far."""
        self._output.seek(0)
        return self._output.read()

    def complained(self) -> str:
        """Return all of its standard error so far."""
        self._messages.seek(0)
        return self._messages.read()


def _work(call: Callable[[], int | None], environment: Mapping[str, str], files: tuple[str, str]) -> None:
    for number, file in enumerate(files, start=1):
        os.dup2(os.open(file, os.O_WRONLY | os.O_APPEND), number)
    faulthandler.register(STACKS, all_threads=True)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(ROOT)
    sys.exit(call())


def start(command: list[str], **environment: str) -> Process:
    """Start `mimbench`."""
    return Process(functools.partial(mimbench.main, command), environment)


def launch(command: list[str], processes: int = 2, **environment: str) -> list[Process]:
    """Start the ranks of one run of `mimbench`, as a launcher does."""
    return launch_call(functools.partial(mimbench.main, command), processes, **environment)


def launch_call(call: Callable[[], int | None], processes: int = 2, **environment: str) -> list[Process]:
    """Start ranks that call a function of a module."""
    (port,) = free_ports(1)
    team = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(processes)}
    return [
        Process(call, {**team, "RANK": str(rank), "LOCAL_RANK": str(rank), **environment}) for rank in range(processes)
    ]


def finished(ranks: list[Process], timeout: float = 240) -> list[tuple[int, str, str]]:
    """Wait for all; return exit code, output and messages of every rank.

    Where one fails, the others may wait for it: those that have not ended a while later are killed.
    """
    deadline, running = time.monotonic() + timeout, list(ranks)
    while running and (left := deadline - time.monotonic()) > 0:
        wait([each.sentinel for each in running], left)
        running = [each for each in running if each.poll() is None]
        if any(each.poll() not in (None, 0) for each in ranks):
            deadline = min(deadline, time.monotonic() + AFTER_A_FAILURE_S)
    return [(each.end(), each.said(), each.complained()) for each in ranks]
