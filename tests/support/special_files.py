"""What may lie in a data set under a file's name without being a file, and a guard against waiting for it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


def _socket(path: Path) -> None:
    with contextlib.chdir(path.parent), socket.socket(socket.AF_UNIX) as opened:  # its whole path may be too long
        opened.bind(path.name)


def _link_to_fifo(path: Path) -> None:
    os.mkfifo(path.with_name("pipe"))
    path.symlink_to("pipe")


MAKERS: dict[str, Callable[[Path], object]] = {
    "a FIFO": os.mkfifo,
    "a FIFO, linked": _link_to_fifo,
    "a socket": _socket,
    "a device": lambda path: path.symlink_to("/dev/null"),
}
special_files = pytest.mark.parametrize("kind", MAKERS)
"""Of a test with the argument `kind`."""


def put(path: Path, kind: str) -> str:
    """Make a special file of a kind in the place of `path`; return what it is to be called."""
    path.unlink(missing_ok=True)
    MAKERS[kind](path)
    return f"{kind.partition(',')[0]} where an ordinary file belongs"


@contextlib.contextmanager
def never_waiting(seconds: int = 30) -> Iterator[None]:
    """Fail, rather than wait for ever, where the block opens a FIFO."""

    def fail(*_: object) -> None:
        raise AssertionError(f"still waiting after {seconds} s")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
