"""Copies of remote files on this machine, within a bound: those that were not used for longest make room.

Processes that want the same file wait for the first of them to fetch it. What is not whole has another name, and goes
when it is found without the process that was fetching it.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import secrets
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from benchmarks.data.index import cache_folder
from benchmarks.data.remote.access import Ranged, State, copy, read, state_of
from benchmarks.data.remote.paths import RemotePath
from benchmarks.errors import UserError
from benchmarks.files.atomic import make_folder
from benchmarks.files.locks import is_held, locked

BOUND = "MIMBENCH_REMOTE_CACHE_GB"
DEFAULT_GB = 50.0
NOTED_EVERY_S = 60
"""How old the time of a file's last use may be before a use is noted."""
FETCHED_AGAIN = 3
"""How often a file is looked for that others remove to make room before it is opened."""
SUFFIX, PARTIAL = ".whole", ".partial"

_fetching = threading.Lock()
"""Held while this process fetches: the kernel's locks do not keep its threads apart."""


def bound_bytes() -> int:
    """Return how much may be kept. Raises UserError for what is no number from 0."""
    text = os.environ.get(BOUND, str(DEFAULT_GB))
    with contextlib.suppress(ValueError):
        if 0 <= float(text) < math.inf:
            return int(float(text) * 1e9)
    raise UserError.about(f"environment variable {BOUND}", text, "10^9 bytes, 0 or more", "set it to a number")


@dataclass(frozen=True)
class RemoteFiles:
    """Files of which some are fetched whole when they are first needed, and of the others the parts that are read."""

    states: dict[RemotePath, State]
    whole: frozenset[RemotePath]
    """As many as fit within the bound together, since samples are drawn from all of them at once."""

    def read(self, path: RemotePath, first: int, size: int) -> bytes:
        """Return a part of a file."""
        if path in self.whole and (found := opened(path, self.states[path])) is not None:
            with found:
                found.seek(first)
                return found.read(size)
        _require_ranges(path, self.states[path])
        return read(path, first, size)

    def opened(self, path: RemotePath) -> IO[bytes]:
        """Open a file; of one that is not fetched whole, blocks are read."""
        if path in self.whole and (found := opened(path, self.states[path])) is not None:
            return found
        _require_ranges(path, self.states[path])
        return cast(IO[bytes], Ranged(path, self.states[path].size_bytes))


def plan(states: dict[RemotePath, State]) -> RemoteFiles:
    """Return the files, and which of them are fetched whole."""
    room, whole = bound_bytes(), set()
    for path, state in states.items():
        if state.size_bytes <= room:
            whole.add(path)
            room -= state.size_bytes
    for path, state in states.items():
        if path not in whole:
            _require_ranges(path, state)
    return RemoteFiles(states, frozenset(whole))


def _require_ranges(path: RemotePath, state: State) -> None:
    if not state.ranges:
        rule = f"on a server that gives parts of files, or with room for all of them here ({BOUND})"
        remedy = f"{BOUND}=GB with more than all shards have together; or copy them to another server"
        raise UserError.about("shard", str(path), rule, remedy)


def sha256_of_remote(path: RemotePath) -> str:
    """Return the sha256 (hex) of a file's bytes."""
    with plan({path: state_of(path)}).opened(path) as file:
        found = hashlib.sha256()
        while part := file.read(2**22):
            found.update(part)
        return found.hexdigest()


def opened(path: RemotePath, state: State) -> IO[bytes] | None:
    """Open the copy of a file, which is fetched where it is missing; None where others need all that may be kept."""
    folder = cache_folder("remote")
    known = f"{path}\0{state.size_bytes}\0{state.tag}"
    file = folder / f"{hashlib.sha256(known.encode(errors='surrogateescape')).hexdigest()}{SUFFIX}"
    for _ in range(FETCHED_AGAIN):
        with contextlib.suppress(FileNotFoundError):
            found = open(file, "rb")  # noqa: SIM115 (the caller closes it)
            if time.time() - os.fstat(found.fileno()).st_mtime > NOTED_EVERY_S:
                with contextlib.suppress(FileNotFoundError):
                    os.utime(file)
            return found
        make_folder(folder)
        with _fetching, locked(_lock(file), math.inf):
            if not file.exists() and not _fetched(path, state, file):
                return None
    return None


def _lock(file: Path) -> Path:
    return file.with_suffix(".lock")


def _fetched(path: RemotePath, state: State, file: Path) -> bool:
    """Fetch a file under a name that says how much room it takes; return False where there is none."""
    partial = file.with_name(f"{file.stem}.{state.size_bytes}.{secrets.token_hex(4)}{PARTIAL}")
    with locked(file.parent / "room.lock", math.inf):
        if not _made_room(file, state.size_bytes):
            return False
        partial.touch()
    try:
        copy(path, partial, state)
        os.replace(partial, file)
    finally:
        partial.unlink(missing_ok=True)
    return True


def _made_room(file: Path, size: int) -> bool:
    """Remove files until this one fits; what others fetch at the moment has its room already."""
    room = bound_bytes() - size
    for partial in file.parent.glob(f"*{PARTIAL}"):
        stem, reserved, _ = partial.name.split(".", 2)
        if stem != file.stem and is_held(_lock(file.with_name(f"{stem}{SUFFIX}"))):
            room -= int(reserved)
        else:
            partial.unlink(missing_ok=True)
    kept = []
    for other in file.parent.glob(f"*{SUFFIX}"):
        with contextlib.suppress(FileNotFoundError):
            state = other.stat()
            kept.append((state.st_mtime_ns, state.st_size, other))
    room -= sum(taken for _, taken, _ in kept)
    for _, taken, other in sorted(kept):
        if room >= 0:
            break
        other.unlink(missing_ok=True)
        room += taken
    return room >= 0
