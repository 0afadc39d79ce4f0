"""A process that has imported what stages import, and forks each from it: `python -u -m slurm.stage.warm SOCKET`.

Importing torch, timm and the engine of a task takes seconds, a fork milliseconds. Each stage is a process of its own
all the same: however one ends, this process and the other stages go on. Nothing here computes and no GPU is visible, so
that a stage begins with the state of a program that was started by itself. Only its peak memory also counts what was
imported for other stages.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import select
import signal
import socket
import sys
import threading
import traceback
import warnings
from collections.abc import Sequence
from typing import NoReturn

from benchmarks.config import Config
from benchmarks.errors import CRASHED_CODE, DONE_CODE, FAILED_CODE
from slurm.stage import job
from slurm.stage.program import import_for
from slurm.stage.request import Request

LONGEST_MESSAGE = 2**20
"""Bytes; a command line is far below."""


class Order(Config):
    """A stage to start."""

    number: int
    """By which the launcher knows the stage's process."""
    folder: str
    stage: str
    argv: tuple[str, ...]
    """The stage's command, without `mimbench`."""
    request: Request
    log: str
    """The file to which the stage writes; its folder exists."""


class Expected(Config):
    """The first message: the first two words of the commands that will follow, in the order in which they may. What
    they need is imported while nothing else is to be done."""

    commands: tuple[tuple[str, ...], ...]


class News(Config):
    """What became of an order: first its process id, then its exit code (negative: ended by that signal)."""

    number: int
    pid: int | None = None
    exit_code: int | None = None


def main(handle: int) -> None:
    """Start stages for the launcher at the other end of the socket with this file descriptor, until it is gone.

    In a forked process: run the stage and end with its exit code.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # what stops stages also reaches this process: it outlives them
    gc.disable()  # a quarter of the time of imports, which leave nothing to collect
    order = _serve(socket.socket(fileno=handle))
    if order is not None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        _run_to_the_end(order)


def _run_to_the_end(order: Order) -> NoReturn:
    """Run a stage and end the process, without taking apart what was imported, which takes a second and more."""
    code = DONE_CODE
    try:
        job.enter(order.folder, order.stage, order.request)
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else FAILED_CODE
    except BaseException:  # as Python itself ends
        traceback.print_exc()
        code = CRASHED_CODE
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):  # a full disk
            stream.flush()
    os._exit(code)


def _serve(launcher: socket.socket) -> Order | None:
    """Return None when the launcher is gone; in every forked process, the order that it carries out."""
    to_import = [list(command) for command in Expected.model_validate_json(_received(launcher)).commands]
    running: dict[int, tuple[int, int]] = {}  # by the handle of a process: its id and the order's number
    while True:
        ready, _, _ = select.select([launcher.fileno(), *running], [], [], 0 if to_import else None)
        if not ready:
            _import_for(to_import.pop(0))
        for handle in ready:
            if handle in running:
                pid, number = running.pop(handle)
                os.close(handle)
                code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                _send(launcher, News(number=number, pid=pid, exit_code=code))
            elif not (received := _received(launcher)):
                return None
            else:
                order = Order.model_validate_json(received)
                _import_for(order.argv)
                if threading.active_count() > 1:  # another thread may hold a lock that the fork would never see opened
                    raise RuntimeError(f"an import started threads: {threading.enumerate()}")
                gc.freeze()  # what was imported stays; no stage need look through it
                if (pid := _fork()) == 0:
                    _become(order, [launcher.detach(), *running])
                    return order
                running[os.pidfd_open(pid)] = (pid, order.number)
                _send(launcher, News(number=order.number, pid=pid))


def _fork() -> int:
    """Fork. Idle threads of numerical libraries do no harm, of which Python warns since 3.12; its own were refused."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
        return os.fork()


def _become(order: Order, handles: Sequence[int]) -> None:
    """Make a forked process the stage's own: its log, collected garbage, and none of the server's open `handles`."""
    gc.enable()
    for handle in handles:
        os.close(handle)
    log = os.open(order.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    for standard in (1, 2):
        os.dup2(log, standard)
    os.close(log)


def _import_for(command: Sequence[str]) -> None:
    """Import what a command needs. What fails, or ends the program, does so again in the stage, whose log says it."""
    try:
        import_for(command)
    except (Exception, SystemExit):
        traceback.print_exc()


def _received(launcher: socket.socket) -> bytes:
    try:
        return launcher.recv(LONGEST_MESSAGE)
    except ConnectionError:
        return b""


def _send(launcher: socket.socket, news: News) -> None:
    with contextlib.suppress(OSError):  # the launcher is gone: its stages go on, and their files say how they end
        launcher.send(news.model_dump_json().encode())


if __name__ == "__main__":
    main(int(sys.argv[1]))
