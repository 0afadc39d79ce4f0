"""The index of a folder: the names and sizes of all files below it, made once and then only checked.

It lies in the cache of the user, since data may be read-only: processes and nodes that see one cache share it, and the
first of them makes it while the others wait. It is made again where a folder has another time of change than it had,
which a file that comes or goes gives it; where one of some files, drawn anew each time, has another size; in data sets
of up to 1 GiB, where any file has another size or time; and where it is damaged or of another version.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import random
import secrets
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.data.walk import READERS, Walk, walk
from benchmarks.errors import UserError, WorkFailed
from benchmarks.files.arrays import Stored, read_arrays, write_arrays
from benchmarks.files.atomic import make_folder
from benchmarks.files.locks import locked
from benchmarks.files.regular import UNREADABLE, size_and_time
from benchmarks.text.progress import ProgressReport

VERSION = 1
KEPT_FROM = 10_000
"""Smaller folders are looked through every time, which takes no longer than checking."""
SMALL_BYTES = 2**30
"""Of data sets up to this size every file is checked."""
CHECKED = 512
"""How many files of a larger one are, drawn anew each time."""
STATS_AT_ONCE = 2048
INDEX, MADE = "index", "made"


class Index:
    """The files below a folder, in path order."""

    def __init__(self, stored: Stored, place: Path | None) -> None:
        """`place` is the folder in the cache that keeps it, if one does."""
        self.place, self.token = place, str(stored.about["token"]) if place is not None else None
        """The token is another one whenever the index is made again."""
        self.arrays = stored.arrays
        self.sizes = stored.arrays["sizes"]
        """In bytes; `UNREADABLE` for what is no ordinary file."""
        ends = stored.arrays["folder_ends"].tolist()
        names = stored.arrays["folder_names"].tobytes()
        self.folders = [names[first:end] for first, end in zip([0, *ends], ends, strict=False)]
        """Every folder by its path below the first, which is empty."""
        self.run_folders: list[int] = stored.arrays["run_folders"].tolist()
        self.run_starts: list[int] = stored.arrays["run_starts"].tolist()
        self.run_ends = [*self.run_starts[1:], *([len(self.sizes)] if self.run_starts else [])]
        self._names, self._ends = stored.arrays["names"].data, stored.arrays["ends"]

    def __len__(self) -> int:
        return len(self.sizes)

    def __reduce__(self) -> tuple[Any, ...]:
        """Processes that are started anew open the file instead of being sent what it holds."""
        if self.place is not None:
            return _opened, (self.place, self.token)
        return Index, (Stored({}, self.arrays), None)

    def name(self, position: int) -> bytes:
        """Return a file's path below the folder."""
        first = int(self._ends[position - 1]) if position else 0
        name = bytes(self._names[first : int(self._ends[position])])
        folder = self.folders[self.run_folders[bisect_right(self.run_starts, position) - 1]]
        return folder + b"/" + name if folder else name

    def names(self, first: int, end: int) -> list[bytes]:
        """Return the paths below the folder of a span of files, all of one run."""
        ends = self._ends[first:end].tolist()
        start = int(self._ends[first - 1]) if first else 0
        names = bytes(self._names[start : ends[-1]])
        folder = self.folders[self.run_folders[bisect_right(self.run_starts, first) - 1]]
        prefix = folder + b"/" if folder else b""
        return [prefix + names[one - start : other - start] for one, other in zip([start, *ends], ends, strict=False)]

    @cached_property
    def once(self) -> NDArray[Any] | None:
        """The positions of all files but those met before by another way; None where that is all of them."""
        again = self.arrays["run_again"]
        if not again.any():
            return None
        lengths = np.diff([*self.run_starts, len(self)])
        found: NDArray[Any] = np.flatnonzero(np.repeat(again == 0, lengths))
        return found

    def derived(self, key: str, make: Callable[[], Any]) -> Any:
        """Return what `make` makes of the index, as JSON: it is kept beside the index under this key."""
        text = self.derived_numbers(key, lambda: np.frombuffer(json.dumps(make()).encode(), np.uint8))
        return json.loads(text.tobytes())

    def derived_numbers(self, key: str, make: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        """Return the whole numbers that `make` makes of the index, which are kept beside it under this key."""
        if self.place is None:
            return make()
        digest = hashlib.sha256(f"{self.token}{key}".encode(errors="surrogateescape")).hexdigest()
        path = self.place / f"{digest}.derived"
        with contextlib.suppress(OSError, ValueError, KeyError):
            return read_arrays(path).arrays[MADE]
        found = make()
        with contextlib.suppress(UserError, WorkFailed):
            write_arrays(path, {}, {MADE: found})
        return found


def _opened(place: Path, token: str) -> Index:
    index = Index(read_arrays(place / INDEX), place)
    if index.token != token:
        raise OSError(f"the index of the data was made again meanwhile: {place}")
    return index


def cache_folder(kind: str) -> Path:
    """Return `mimbench/KIND` in XDG_CACHE_HOME, or in `~/.cache` where that is not set."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "mimbench" / kind


def index_of(folder: Path, suffixes: Collection[str], *, refresh: bool = False) -> Index:
    """Return the index of the files below a folder with such a suffix, from the cache where it still holds.

    `refresh`: make it anew.
    """
    root = os.path.realpath(folder)
    key = hashlib.sha256("\0".join([root, *sorted(suffixes)]).encode(errors="surrogateescape")).hexdigest()
    place = cache_folder("indices") / key
    if not refresh and (known := _known(place, root)) is not None:
        return known
    if not refresh and (small := _small(root, suffixes)) is not None:
        return small
    with _alone(place) as writable:
        if not refresh and (known := _known(place, root)) is not None:
            return known  # another process made it meanwhile
        stored, settled = _made(root, suffixes)
        if writable and settled and len(stored.arrays["sizes"]) >= KEPT_FROM:
            with contextlib.suppress(UserError, WorkFailed):  # no room: it is made again next time
                make_folder(place)
                for old in place.glob("*.*"):
                    old.unlink(missing_ok=True)
                write_arrays(place / INDEX, stored.about, stored.arrays)
                return _opened(place, stored.about["token"])
        return Index(stored, None)


@contextlib.contextmanager
def _alone(place: Path) -> Iterator[bool]:
    """Hold the lock of an index; yield False where the cache cannot be written, and nobody can wait."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(place.with_name(f"{place.name}.lock"), math.inf))
        except (UserError, WorkFailed, OSError):
            yield False
            return
        yield True


class _Larger(Exception):
    """A folder has so many files that its index is worth keeping."""


def _small(root: str, suffixes: Collection[str]) -> Index | None:
    """Return the index of a small folder, which is kept nowhere; None for a larger one."""

    def refuse(files: int) -> None:
        if files >= KEPT_FROM:
            raise _Larger

    try:
        return Index(_stored(walk(root, suffixes, refuse), root), None)
    except _Larger:
        return None


def _made(root: str, suffixes: Collection[str]) -> tuple[Stored, bool]:
    with ProgressReport(f"looking through {root}", None, "file", by_any_rank=True) as progress:
        found = walk(root, suffixes, progress.show)
    return _stored(found, root), found.settled


def _stored(found: Walk, root: str) -> Stored:
    arrays = found.arrays()
    if _bytes(arrays["sizes"]) > SMALL_BYTES:
        del arrays["modified_ns"]
    about = {"version": VERSION, "token": secrets.token_hex(16), "root": os.fsencode(root).hex()}
    return Stored(about, arrays)


def _bytes(sizes: NDArray[Any]) -> int:
    return int(np.maximum(sizes, 0).sum(dtype=np.int64))


def _known(place: Path, root: str) -> Index | None:
    """Return the index that is kept, if it still holds."""
    try:
        stored = read_arrays(place / INDEX)
        if stored.about["version"] != VERSION or stored.about["root"] != os.fsencode(root).hex():
            return None
        index = Index(stored, place)
        return index if _holds(index, os.fsencode(root)) else None
    except (OSError, ValueError, KeyError, IndexError, TypeError):
        return None


def _holds(index: Index, root: bytes) -> bool:
    """Tell whether folders, and some or all files, are as they were."""
    with ThreadPoolExecutor(READERS) as readers:

        def all_are(expected: Callable[[int], bool], count: int) -> bool:
            spans = [range(first, min(first + STATS_AT_ONCE, count)) for first in range(0, count, STATS_AT_ONCE)]
            return all(readers.map(lambda span: all(map(expected, span)), spans))

        times = index.arrays["folder_modified_ns"].tolist()
        folders = [os.path.join(root, name) for name in index.folders]
        if not all_are(lambda at: os.stat(folders[at]).st_mtime_ns == times[at], len(folders)):
            return False
        if (modified := index.arrays.get("modified_ns")) is not None:
            sizes, times = index.sizes.tolist(), modified.tolist()
            return all_are(lambda at: _state(root, index, at) == (sizes[at], times[at]), len(index))
        drawn = random.SystemRandom().sample(range(len(index)), min(CHECKED, len(index)))
        drawn += np.flatnonzero(index.sizes == UNREADABLE).tolist()
        return all_are(lambda at: _state(root, index, drawn[at])[0] == index.sizes[drawn[at]], len(drawn))


def _state(root: bytes, index: Index, position: int) -> tuple[int, int]:
    path = os.path.join(root, index.name(position))
    return size_and_time(lambda: os.stat(path))
