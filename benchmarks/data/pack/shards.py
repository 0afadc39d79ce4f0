"""The bytes of shards, one after the other: tar files whose headers hold no time and no user."""

from __future__ import annotations

import hashlib
import tarfile
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import TypeVar

from benchmarks.data.pack.manifest import PackOptions, Shard, Skipped
from benchmarks.data.pack.samples import Sample

READERS = 8
"""Threads that read, decode and encode images ahead: Pillow works beside Python, and a network answers many at once."""
AHEAD = 4 * READERS
END_OF_TAR = bytes(2 * tarfile.BLOCKSIZE)

Write = Callable[[bytes], object]
Opened = Callable[[str], AbstractContextManager[Write]]
"""Opens the shard of a name; what is written is kept when the block ends without an error."""
T = TypeVar("T")


class _Growing:
    """One shard as it grows."""

    def __init__(self, write: Write, options: PackOptions) -> None:
        self._write, self._options = write, options
        self._sha256 = hashlib.sha256()
        self.images = self.bytes = 0
        self.skipped: list[Skipped] = []

    def has_room(self, sample: Sample | Skipped) -> bool:
        """Tell whether a sample belongs to this shard and not to the next one."""
        if isinstance(sample, Skipped) or not self.images:
            return True
        if self._options.shard_images is not None and self.images >= self._options.shard_images:
            return False
        added = sum(map(len, _members(sample)))
        return self.bytes + added + len(END_OF_TAR) <= self._options.shard_mb * 1e6

    def add(self, sample: Sample | Skipped) -> None:
        if isinstance(sample, Skipped):
            self.skipped.append(sample)
            return
        for part in _members(sample):
            self._put(part)
        self.images += 1

    def end(self, file: str, begin: int, end: int) -> Shard:
        self._put(END_OF_TAR)
        return Shard(
            file=file,
            images=self.images,
            begin=begin,
            end=end,
            bytes=self.bytes,
            sha256=self._sha256.hexdigest(),
            skipped=tuple(self.skipped),
        )

    def _put(self, part: bytes) -> None:
        self._write(part)
        self._sha256.update(part)
        self.bytes += len(part)


def _members(sample: Sample) -> list[bytes]:
    """Return a sample as members of a tar file: the image, then `.cls` with its label."""
    found = _member(f"{sample.key}.{sample.suffix}", sample.data)
    if sample.label is not None:
        found += _member(f"{sample.key}.cls", str(sample.label).encode())
    return found


def _member(name: str, data: bytes) -> list[bytes]:
    header = tarfile.TarInfo(name)
    header.size = len(data)
    return [header.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape"), data, bytes(-len(data) % tarfile.BLOCKSIZE)]


def shards_of(
    make: Callable[[int], Sample | Skipped],
    order: Sequence[int],
    begin: int,
    name: Callable[[int], str],
    number: int,
    options: PackOptions,
    opened: Opened,
    show: Callable[[int], object],
) -> Iterator[Shard]:
    """Make the images `order[begin:]` into shards, the first of them shard `number`, and yield each once it is whole.

    `show` is given how many images of `order` were done.
    """
    samples = _ahead(make, order[begin:])
    at, sample = begin, next(samples, None)
    try:
        while sample is not None:
            file, first = name(number), at
            with opened(file) as write:
                growing = _Growing(write, options)
                while sample is not None and growing.has_room(sample):
                    growing.add(sample)
                    at, sample = at + 1, next(samples, None)
                    show(at)
                found = growing.end(file, first, at)
            yield found
            number += 1
    finally:
        samples.close()


def _ahead(make: Callable[[int], T], positions: Sequence[int]) -> Generator[T, None, None]:
    """Yield what `make` makes of positions, in their order, some of them made ahead."""
    readers = ThreadPoolExecutor(READERS)
    waiting: deque[Future[T]] = deque()
    try:
        for position in positions:
            waiting.append(readers.submit(make, int(position)))
            if len(waiting) >= AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        readers.shutdown(wait=True, cancel_futures=True)
