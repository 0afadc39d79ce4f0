"""Locks between processes: who may work on a run, a pipeline, a stage, a copy of the data.

They are the kernel's record locks (fcntl(2)): the kernel releases one when its process ends, however it ends, and a
shared file system keeps them between hosts. The locks of flock(2), which most libraries use, pass to forked loader
workers, and these outlive a killed run by seconds. A lock is lost when its process opens and closes the file again.
"""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.errors import printable
from benchmarks.files.atomic import disk_error, make_folder

PATIENCE_S = 0.3
"""How long a lock that is held is tried again: a process that asks whether it is held may take it for an instant."""
TRY_EVERY_S = 0.02
RECORD = "hhqqi4x"
"""`struct flock` of Linux: type, whence, start, length, process."""


class Locked(Exception):
    """Another process holds the lock."""


@contextlib.contextmanager
def locked(path: Path, patience_s: float = PATIENCE_S) -> Iterator[int]:
    """Hold the lock file `path`, which is made where it is missing; yield its handle.

    Raises Locked when another process still holds it after `patience_s` seconds (math.inf: wait for as long as it
    takes), and what `make_folder` raises.
    """
    handle = _open(path)
    try:
        deadline = time.monotonic() + patience_s
        while not _taken(handle):
            if time.monotonic() > deadline:
                raise Locked(str(path))
            time.sleep(TRY_EVERY_S if patience_s < math.inf else 1)
        yield handle
    finally:
        os.close(handle)


def _open(path: Path) -> int:
    make_folder(path.parent)
    try:  # less the umask; not through a link, whose target `sign` would overwrite
        return os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        raise disk_error(error, path, 0) from error


def _taken(handle: int) -> bool:
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


def sign(handle: int) -> None:
    """Write into a lock that this process holds which process on which host that is."""
    os.ftruncate(handle, 0)
    os.pwrite(handle, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)


def is_held(path: Path) -> bool:
    """Tell whether a living process holds the lock file."""
    return _process_of(path) is not None


def _process_of(path: Path) -> int | None:
    """Return the process that holds a lock, as the kernel reports it; None where none does.

    A process of another host, or one that cannot be seen from here, is 0 or negative.
    """
    try:
        handle = os.open(path, os.O_RDONLY)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        asked = struct.pack(RECORD, fcntl.F_RDLCK, os.SEEK_SET, 0, 0, 0)
        kind, _, _, _, process = struct.unpack(RECORD, fcntl.fcntl(handle, fcntl.F_GETLK, asked))
    finally:
        os.close(handle)
    return None if kind == fcntl.F_UNLCK else int(process)


def read_holder(path: Path) -> str:
    """Return `process PID on HOST` of the last holder that signed the lock, or an empty text; safe to print."""
    try:
        return printable(path.read_text(errors="replace"))
    except OSError:
        return ""


def holder_pid(path: Path) -> int | None:
    """Return the process id of a living holder on this host; None when there is none here.

    What is written in the file is not enough, since anybody may have written it: the kernel must name the same process.
    """
    process = _process_of(path)
    here = process is not None and process > 1 and read_holder(path) == f"process {process} on {socket.gethostname()}"
    return process if here else None


def signal_process(pid: int, number: int) -> bool:
    """Send a signal to a process, which may have ended; return False where it is another person's."""
    if pid <= 1:  # kill(2) would take it for a whole group, or for every process of this user
        raise ValueError(f"{pid} is the id of no process of ours")
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass
    except PermissionError:
        return False
    return True
