"""The processes of stages on this machine: forked from one that has imported what they need, or started as programs."""

from __future__ import annotations

import contextlib
import itertools
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks.files.atomic import make_folder
from slurm.graph.stages import Stage
from slurm.stage.request import Request
from slurm.stage.warm import LONGEST_MESSAGE, Expected, News, Order
from slurm.state.folder import PipelineFolder


class StageProcess:
    """A stage's process, started or about to be forked."""

    def __init__(self, order: Order, program: subprocess.Popen[bytes] | None = None) -> None:
        """`program`: the process, where it is a child of this one."""
        self.order, self.program = order, program
        self.forked_as: int | None = None
        self.was_seen_to_end = False

    @property
    def job_id(self) -> str:
        """What its log is called by."""
        return Path(self.order.log).name.partition("_")[0]

    def has_ended(self) -> bool:
        """Tell whether it has; not of a process whose server is gone, which its lock alone tells."""
        return self.was_seen_to_end if self.program is None else self.program.poll() is not None

    def kill(self) -> None:
        """End it at once, if it has begun."""
        if self.program is not None:
            self.program.kill()
        elif self.forked_as is not None and not self.was_seen_to_end:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.forked_as, signal.SIGKILL)


class Processes:
    """Starts the stages of a pipeline, each as a process of its own, and is informed of their ends."""

    def __init__(self, folder: PipelineFolder, environment: Mapping[str, str]) -> None:
        """`environment`: variables of every stage, laid over those of this process."""
        self._folder, self._environment = folder, environment
        self._server: _Server | None = None
        self._numbers = itertools.count(1)
        self._forked: dict[int, StageProcess] = {}
        """Those of the server that were not seen to end, by the number of their order."""

    def start(self, stage: Stage, request: Request, gpus: Sequence[int], expected: Iterable[Stage]) -> StageProcess:
        """Start a stage, while those `expected` may follow.

        One that is a single process without a GPU is forked. Ranks are programs of their own anyway, and CUDA promises
        nothing in a process that was forked from one in which its libraries were loaded.
        """
        order = self._order(stage, request)
        if gpus or request.ranks_per_node > 1:
            return StageProcess(order, self._program(order, gpus))
        if self._server is None:
            self._server = self._open_server(expected)
        process = self._forked[order.number] = StageProcess(order)
        self._server.send(order)
        return process

    def _order(self, stage: Stage, request: Request) -> Order:
        number, logs = next(self._numbers), self._folder.logs(stage.name).resolve()
        make_folder(logs)
        log = logs / f"{os.getpid()}.{number}_0_log.out"
        log.touch()  # what cannot be written is said here, where somebody reads it
        return Order(
            number=number,
            folder=str(self._folder.path.resolve()),
            stage=stage.name,
            argv=stage.argv,
            request=request,
            log=str(log),
        )

    def wait(self, seconds: float) -> None:
        """Wait for the end of a forked stage, for at most so many seconds, and take note of all that ended."""
        if self._server is None:
            select.select([], [], [], seconds)
            return
        for news in self._server.news(seconds):
            process = self._forked[news.number]
            process.forked_as, process.was_seen_to_end = news.pid, news.exit_code is not None
            if process.was_seen_to_end:
                del self._forked[news.number]
        if self._server.is_gone:
            self._go_on_without_server()

    def _go_on_without_server(self) -> None:
        """Start as programs what the server did not begin: an import may have ended it."""
        self._server = None
        for process in self._forked.values():
            if process.forked_as is None:
                process.program = self._program(process.order, ())
            else:
                process.was_seen_to_end = True  # as far as it can be seen: from here on its lock tells
        self._forked.clear()

    def close(self) -> None:
        """End the server; stages that still run go on."""
        if self._server is not None:
            self._server.close()

    def _variables(self, gpus: Sequence[int]) -> dict[str, str]:
        seen = {"CUDA_VISIBLE_DEVICES": ",".join(map(str, gpus)), "SUBMITIT_EXECUTOR": "local"}
        return {**os.environ, **self._environment, **seen}

    def _program(self, order: Order, gpus: Sequence[int]) -> subprocess.Popen[bytes]:
        arguments = ["slurm.stage.job", order.folder, order.request.model_dump_json(), order.stage]
        return _started(arguments, self._variables(gpus), Path(order.log))

    def _open_server(self, expected: Iterable[Stage]) -> _Server:
        server = _Server(self._variables(()), self._folder.path / "logs" / "server.out")
        server.send(Expected(commands=tuple(dict.fromkeys(stage.argv[:2] for stage in expected))))
        return server


class _Server:
    """The process from which stages are forked, and the socket to it."""

    def __init__(self, environment: Mapping[str, str], log: Path) -> None:
        self._socket, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with its:
            self._process = _started(["slurm.stage.warm", str(its.fileno())], environment, log, its.fileno())
        self.is_gone = False

    def send(self, message: Order | Expected) -> None:
        with contextlib.suppress(OSError):  # it is gone, as `news` finds out
            self._socket.send(message.model_dump_json().encode())

    def news(self, seconds: float) -> Iterator[News]:
        """Yield what it reports within so many seconds, at least all that is there already."""
        while select.select([self._socket], [], [], seconds)[0]:
            try:
                received = self._socket.recv(LONGEST_MESSAGE)
            except ConnectionError:
                received = b""
            if not received:
                self.is_gone = True
                self.close()
                return
            yield News.model_validate_json(received)
            seconds = 0.0

    def close(self) -> None:
        self._socket.close()
        self._process.kill()
        self._process.wait()


def _started(
    module_and_arguments: Sequence[str], environment: Mapping[str, str], log: Path, *handles: int
) -> subprocess.Popen[bytes]:
    """Start a module as a program that a terminal's Ctrl-C and hang-up do not reach (a blocked signal is inherited).

    Stages are stopped by SIGTERM alone, one after the other.
    """
    held = (signal.SIGINT, signal.SIGHUP)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, held)
    try:
        with open(log, "ab") as output:
            return subprocess.Popen(
                [sys.executable, "-u", "-m", *module_and_arguments],
                env=environment,
                pass_fds=handles,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
