"""Looking through a folder once: every file below it with its size, in path order, as arrays."""

from __future__ import annotations

import contextlib
import os
import time
from array import array
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.files.arrays import compact
from benchmarks.files.regular import size_and_time

READERS = 16
"""How many folders are listed at once on a slow file system: one on a network answers many in the time of one."""
SLOW_S = 5e-5
"""Seconds per file above which a file system is slow; a local one takes some microseconds."""
SETTLED_NS = 2 * 10**9
"""How old a change must be to be told from the next one by its time: file systems count in steps of up to 2 s."""
TOMORROW_NS = 86_400 * 10**9

Show = Callable[[int], object]
"""Is given how many files were found so far."""


class Folder(NamedTuple):
    """What one folder holds, each sorted by name."""

    modified_ns: int
    """When a name in it was last changed; -1 where it may not be listed."""
    listed_ns: int
    files: list[tuple[str, int, int]]
    """Name, size in bytes, time of the last change in ns."""
    folders: list[tuple[str, bool]]
    """Name, and whether it is a link."""


@dataclass
class Walk:
    """The files below a folder in path order, a run of them after the other; a run's files lie in one folder."""

    folders: list[str] = field(default_factory=list)
    """Every folder, by its path below the first; "" is the first itself."""
    modified_ns: list[int] = field(default_factory=list)
    run_folders: list[int] = field(default_factory=list)
    run_starts: list[int] = field(default_factory=list)
    run_again: list[bool] = field(default_factory=list)
    """Whether the run's folder was met before, under another folder directly below the first."""
    names: list[bytes] = field(default_factory=list)
    """The names of each run's files, one behind the other."""
    lengths: array[int] = field(default_factory=partial(array, "i"))
    """The length of each name in bytes."""
    sizes: array[int] = field(default_factory=partial(array, "q"))
    file_modified_ns: array[int] = field(default_factory=partial(array, "q"))
    settled: bool = True
    """False where something changed so shortly before it was looked at that the next change might bear the same time,
    and where a folder may not be listed."""

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the files as arrays; the time of each file's change is among them."""
        folders = [os.fsencode(name) for name in self.folders]
        return {
            "folder_names": np.frombuffer(b"".join(folders), np.uint8),
            "folder_ends": compact(np.cumsum([len(name) for name in folders])),
            "folder_modified_ns": np.asarray(self.modified_ns, np.int64),
            "run_folders": compact(self.run_folders),
            "run_starts": compact(self.run_starts),
            "run_again": np.asarray(self.run_again, np.uint8),
            "names": np.frombuffer(b"".join(self.names), np.uint8),
            "ends": compact(np.cumsum(np.asarray(self.lengths, np.int64))),
            "sizes": compact(self.sizes),
            "modified_ns": np.asarray(self.file_modified_ns, np.int64),
        }


def walk(root: str, suffixes: Collection[str], show: Show) -> Walk:
    """Find all files below a folder with such a suffix, links followed.

    A link back to a folder that was met before, below the same folder directly under the root, is not followed. What
    may not be listed is passed over. Raises what `show` raises, which may end it so.
    """
    readers = ThreadPoolExecutor(READERS)
    try:
        return _Walker(root, frozenset(suffixes), readers, show).found
    finally:
        readers.shutdown(cancel_futures=True)


class _Walker:
    def __init__(self, root: str, suffixes: frozenset[str], readers: ThreadPoolExecutor, show: Show) -> None:
        self._root, self._suffixes, self._readers, self._show = root, suffixes, readers, show
        self._slow = False
        self._ahead: dict[str, Future[Folder]] = {}
        self._met: set[str] = set()
        self._met_here: set[str] = set()
        """The real folders that were met, and those of them under the same folder directly below the root."""
        self.found = Walk()
        steps = [self._steps("", os.path.realpath(root), again=False)]
        while steps:
            with contextlib.suppress(StopIteration):
                steps.append(next(steps[-1]))
                continue
            steps.pop()

    def _steps(self, place: str, real: str, again: bool) -> Iterator[Iterator[Any]]:
        """Note a folder's files in turn, and yield the steps through each of the folders in it, where its place is."""
        if place and "/" not in place:
            self._met_here = set()
        self._met_here.add(real)
        again = again or real in self._met
        self._met.add(real)
        folder = self._listed(place)
        self.found.folders.append(place)
        self.found.modified_ns.append(folder.modified_ns)
        age = folder.listed_ns - folder.modified_ns
        self.found.settled &= folder.modified_ns >= 0 and not -TOMORROW_NS < age < SETTLED_NS
        number, names, first = len(self.found.folders) - 1, [name for name, _, _ in folder.files], 0
        self._list_ahead(place, folder)
        for name, is_link in folder.folders:
            end = bisect_left(names, name, lo=first)
            self._note(number, folder, first, end, again)
            first, inner = end, os.path.join(place, name)
            there = os.path.realpath(os.path.join(self._root, inner)) if is_link else os.path.join(real, name)
            if not place or there not in self._met_here:
                yield self._steps(inner, there, again)
        self._note(number, folder, first, len(names), again)

    def _listed(self, place: str) -> Folder:
        if place in self._ahead:
            return self._ahead.pop(place).result()
        began = time.monotonic()
        folder = _list(os.path.join(self._root, place), self._suffixes)
        self._slow = (time.monotonic() - began) / (len(folder.files) + len(folder.folders) + 10) > SLOW_S
        return folder

    def _list_ahead(self, place: str, folder: Folder) -> None:
        """On a slow file system, list the folders in a folder before they are asked for, but for links."""
        for name, is_link in folder.folders if self._slow else ():
            if not is_link:
                inner = os.path.join(place, name)
                self._ahead[inner] = self._readers.submit(_list, os.path.join(self._root, inner), self._suffixes)

    def _note(self, number: int, folder: Folder, first: int, end: int, again: bool) -> None:
        if first == end:
            return
        found, files = self.found, folder.files[first:end]
        found.run_folders.append(number)
        found.run_starts.append(len(found.sizes))
        found.run_again.append(again)
        names = [name for name, _, _ in files]
        together = "".join(names)
        found.names.append(os.fsencode(together))
        found.lengths.extend(map(len, names if together.isascii() else map(os.fsencode, names)))
        found.sizes.extend(size for _, size, _ in files)
        times = [time_ns for _, _, time_ns in files]
        found.file_modified_ns.extend(times)
        found.settled &= not -TOMORROW_NS < folder.listed_ns - max(times) < SETTLED_NS
        self._show(len(found.sizes))


def _list(path: str, suffixes: frozenset[str]) -> Folder:
    now = time.time_ns()
    files, folders = [], []
    try:
        modified = os.stat(path).st_mtime_ns
        with os.scandir(path) as entries:
            for entry in entries:
                if _is_folder(entry):
                    folders.append((entry.name, entry.is_symlink()))
                elif has_end(entry.name, suffixes):
                    files.append((entry.name, *size_and_time(entry.stat)))
    except OSError:
        return Folder(-1, now, [], [])
    return Folder(modified, now, sorted(files), sorted(folders))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def has_end(name: str, suffixes: Collection[str]) -> bool:
    """Tell whether a name has one of the suffixes, in capitals or not; a hidden file has none."""
    return os.path.splitext(name)[1].lower() in suffixes and not name.startswith(".")
