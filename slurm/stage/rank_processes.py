"""The ranks of a stage on one node: child processes that begin, are watched and end together."""

from __future__ import annotations

import math
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import FrameType, TracebackType
from typing import IO, Any

from benchmarks.errors import STOPPED_CODE
from slurm.state.attempt import RankEnd

POLL_S = 0.1
EXCHANGE_S = 1.0
"""Seconds between two looks of the nodes of a stage into each other's files."""
GRACE_S = 10.0
"""How long ranks have after one of them failed. They may be stuck in a collective, so this is not for saving."""
STOPPING_S = 600.0
"""How long ranks have after one of them stopped on request: the main one may still be writing the checkpoint."""
STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR2, signal.SIGINT)


@dataclass(frozen=True)
class News:
    """What the other nodes of a stage have reported."""

    ends: tuple[RankEnd, ...] = ()
    is_over: bool = False
    """Whether the stage has ended, or begins anew: the ranks of this node are not needed any more."""


Exchange = Callable[[Sequence[RankEnd]], News]
"""Reports to the other nodes which ranks of this one have ended, and returns what they report."""


class RankProcesses:
    """Starts ranks on entering; passes stop signals on to them; on leaving, none of them is alive."""

    def __init__(self, argv: Sequence[str], environments: Mapping[int, Mapping[str, str]]) -> None:
        """`environments` has each rank's own variables, by its number."""
        self.ends: dict[int, RankEnd] = {}
        """The ranks that ended before any was killed here; `watch` adds those of other nodes."""
        self._command = [sys.executable, "-u", "-m", "slurm.stage.rank", str(os.getpid()), *argv]
        self._environments = environments
        self._processes: dict[int, subprocess.Popen[str]] = {}
        self._listeners: dict[int, _Listener] = {}
        self._asked_to_stop: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> RankProcesses:
        self._before = {number: signal.signal(number, self._pass_on) for number in STOP_SIGNALS}
        for rank, own in self._environments.items():
            self._processes[rank] = process = subprocess.Popen(
                self._command,
                env={**os.environ, **own},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if rank else None,  # rank 0's is the stage's log
                stderr=subprocess.STDOUT if rank else None,
                text=True,
                errors="replace",
            )
            if process.stdout is not None:
                self._listeners[rank] = _Listener(rank, process.stdout)
        if self._asked_to_stop is not None:
            self.send(self._asked_to_stop)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.send(signal.SIGKILL)
        for process in self._processes.values():
            process.wait()
        for listener in self._listeners.values():
            listener.join(timeout=1)
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def send(self, number: signal.Signals) -> None:
        """Send a signal to every rank of this node that is still alive."""
        for process in list(self._processes.values()):
            process.send_signal(number)

    def _pass_on(self, number: int, _frame: FrameType | None) -> None:
        # Slurm signals every process of a step, so a rank may get it twice; a second SIGINT would stop it unsaved.
        self._asked_to_stop = signal.SIGTERM if number == signal.SIGINT else signal.Signals(number)
        self.send(self._asked_to_stop)

    def watch(self, expected: int, exchange: Exchange) -> None:
        """Wait until `expected` ranks have ended, those of other nodes included.

        Once one has failed, or the stage is over, the others are asked to stop and have GRACE_S to do so; leaving the
        block kills them.
        """
        next_exchange, patience, since, news = 0.0, math.inf, 0.0, News()
        while len(self.ends) < expected:
            self._collect()
            now = time.monotonic()
            if now >= next_exchange:
                news, next_exchange = exchange(tuple(self.ends.values())), now + EXCHANGE_S
                self.ends |= {end.rank: end for end in news.ends}
            if (left := self._patience(news.is_over)) != patience:
                patience, since = left, now
                if patience == GRACE_S:
                    self.send(signal.SIGTERM)
            if now - since > patience:
                return
            time.sleep(POLL_S)
        exchange(tuple(self.ends.values()))

    def _patience(self, is_over: bool) -> float:
        """Return for how many seconds it makes sense to wait for the ranks that are still alive."""
        ends = self.ends.values()
        none_here = all(rank in self.ends for rank in self._processes)
        if is_over or any(end.failed for end in ends) or (none_here and any(end.exit_code for end in ends)):
            return GRACE_S
        return STOPPING_S if any(end.exit_code == STOPPED_CODE for end in ends) else math.inf

    def _collect(self) -> None:
        for rank, process in self._processes.items():
            if rank in self.ends or (code := process.poll()) is None:
                continue
            asked = self._asked_to_stop is not None and -code in STOP_SIGNALS
            self.ends[rank] = RankEnd(
                rank=rank,
                host=os.environ.get("SLURMD_NODENAME") or socket.gethostname(),
                exit_code=STOPPED_CODE if asked else code,
                at=time.time(),
                last_words=self._listeners[rank].last_words() if rank in self._listeners else "",
            )


class _Listener(threading.Thread):
    """Passes a rank's output on to the log, with the rank before every line."""

    def __init__(self, rank: int, output: IO[str]) -> None:
        super().__init__(daemon=True)
        self._rank, self._output = rank, output
        self._last = ""
        self.start()

    def run(self) -> None:
        for line in self._output:
            print(f"[rank {self._rank}] {line.rstrip()}", file=sys.stderr, flush=True)
            if line.strip() and not line[0].isspace():  # remedies and traces are indented, what happened is not
                self._last = line.strip()

    def last_words(self) -> str:
        """Return the last line that was not indented."""
        self.join(timeout=1)  # loader processes may keep the pipe open for longer
        return self._last
