"""Thousands of small files from a slow disk or a network: those that come next are read beside the work on these."""

from __future__ import annotations

import os
import resource
import stat
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

THREADS = 8
BATCH = 32
"""How many items one thread looks after at a time."""
AHEAD = 2 * THREADS
"""How many batches are under way: beyond these, files could leave the cache before their turn."""
FIRST = 4
"""How many items tell at first whether there is anything to wait for."""
MOST_BYTES = 1 << 16
"""What is read of a file's end; the records and logs of runs are smaller, but for a few."""


def read_ahead(items: Iterable[T], files: Callable[[T], Iterable[Path]]) -> Iterator[T]:
    """Yield the items in their order, while threads read the files of the next ones into the system's cache.

    They begin once who is given the items has waited for the disk: where the files are in the cache already, threads
    would double the work, and take turns with who reads them. Who is given an item reads its files as if this were not
    there: what cannot be read is no error here.
    """
    rest = iter(items)
    yield from _until_one_waits(rest)
    batches = deque[list[T]]()
    with ThreadPoolExecutor(THREADS, thread_name_prefix="read-ahead") as pool:
        try:
            while batch := list(islice(rest, BATCH)):
                batches.append(batch)
                pool.submit(_read, [str(path) for item in batch for path in files(item)])
                if len(batches) == AHEAD:
                    yield from batches.popleft()
            while batches:
                yield from batches.popleft()
        finally:
            pool.shutdown(cancel_futures=True)


def _until_one_waits(rest: Iterator[T]) -> Iterator[T]:
    """Yield items until the thread that takes them had to wait for every other one of a batch, or there are no more."""
    size = FIRST
    while batch := list(islice(rest, size)):
        before = _waits()
        yield from batch
        if _waits() - before >= len(batch) / 2:
            return
        size = BATCH


def _waits() -> int:
    """Return how often this thread has waited so far, as for a disk; that others had the processor does not count."""
    return resource.getrusage(getattr(resource, "RUSAGE_THREAD", resource.RUSAGE_SELF)).ru_nvcsw


def _read(paths: Iterable[str]) -> None:
    for path in paths:
        try:
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe would wait for its writer
        except (OSError, ValueError):
            continue
        try:
            status = os.fstat(file)
            if stat.S_ISREG(status.st_mode):
                os.pread(file, MOST_BYTES, max(0, status.st_size - MOST_BYTES))
        except OSError:
            pass
        finally:
            os.close(file)
