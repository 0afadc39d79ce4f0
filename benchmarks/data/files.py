"""Files of indexed folders as a sequence of paths, none of which exists before it is asked for."""

from __future__ import annotations

import hashlib
import os
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import accumulate, groupby, pairwise
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from benchmarks.data.index import Index
from benchmarks.data.walk import READERS, Walk
from benchmarks.files.arrays import Stored
from benchmarks.files.regular import size_and_time

AT_ONCE = 2**16


@dataclass(frozen=True)
class Part:
    """Some files of one index."""

    index: Index
    folder: str
    """Where the index's folder lies, as it was named."""
    positions: NDArray[Any] | None
    """Which files, in which order; None: all."""

    def __len__(self) -> int:
        return len(self.index) if self.positions is None else len(self.positions)

    @property
    def chosen(self) -> NDArray[Any]:
        """The positions, where all are meant, too."""
        return np.arange(len(self.index), dtype=np.uint32) if self.positions is None else self.positions


class IndexedFiles(Sequence[Path]):
    """Files of one index after the other."""

    def __init__(self, *parts: Part) -> None:
        self.parts = parts
        self._ends = list(accumulate(map(len, parts)))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @overload
    def __getitem__(self, at: int) -> Path: ...
    @overload
    def __getitem__(self, at: slice) -> IndexedFiles: ...
    def __getitem__(self, at: int | slice) -> Path | IndexedFiles:
        if isinstance(at, slice):
            return self.select(np.arange(len(self))[at])
        part, inner = self._place(range(len(self))[at])
        return Path(part.folder, os.fsdecode(part.index.name(inner)))

    def _place(self, position: int) -> tuple[Part, int]:
        """Return the part that holds a file, and its position in the part's index."""
        number = bisect_right(self._ends, position)
        part = self.parts[number]
        inner = position - (self._ends[number - 1] if number else 0)
        return part, inner if part.positions is None else int(part.positions[inner])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and all(map(Path.__eq__, self, other))

    __hash__ = None  # type: ignore[assignment]

    def __add__(self, other: IndexedFiles) -> IndexedFiles:
        return IndexedFiles(*self.parts, *other.parts)

    def select(self, positions: Sequence[int] | NDArray[Any]) -> IndexedFiles:
        """Return the files at these positions, in this order."""
        wanted = np.asarray(positions, dtype=np.int64)
        number_of = np.searchsorted(self._ends, wanted, side="right")
        cuts = [0, *(np.flatnonzero(np.diff(number_of)) + 1).tolist(), len(wanted)] if len(wanted) else []
        found = []
        for first, end in pairwise(cuts):
            number = int(number_of[first])
            part, inner = self.parts[number], wanted[first:end] - (self._ends[number - 1] if number else 0)
            chosen = inner if part.positions is None else part.positions[inner]
            found.append(replace(part, positions=chosen.astype(np.uint32)))
        return IndexedFiles(*found)

    @property
    def sizes(self) -> NDArray[Any]:
        """The files' sizes in bytes when they were indexed; below 0 for what is no ordinary file."""
        found = [
            each.index.sizes if each.positions is None else each.index.sizes[each.positions] for each in self.parts
        ]
        return np.concatenate(found) if found else np.empty(0, np.int32)

    def name(self, position: int, root: Path) -> str:
        """Return a file's path below `root`."""
        part, inner = self._place(position)
        below = Path(part.folder).relative_to(root)
        name = os.fsdecode(part.index.name(inner))
        return name if below == Path() else f"{below.as_posix()}/{name}"

    def names(self, root: Path) -> Iterator[bytes]:
        """Yield each file's path below `root`. Raises ValueError where it does not lie there."""
        for part in self.parts:
            below = Path(part.folder).relative_to(root)
            prefix = b"" if below == Path() else os.fsencode(below) + b"/"
            for name in _names(part):
                yield prefix + name

    def identity(self, root: Path, by_content: bool) -> list[Any] | None:
        """Return what the names below `root`, and sizes or contents, follow from, as JSON.

        None where an index is not kept, or does not notice every change of contents.
        """
        found = []
        for part in self.parts:
            if part.index.token is None or (by_content and "modified_ns" not in part.index.arrays):
                return None
            chosen = (
                None
                if part.positions is None
                else hashlib.sha256(np.ascontiguousarray(part.positions).data).hexdigest()
            )
            found.append([part.index.token, os.fsencode(Path(part.folder).relative_to(root)).hex(), chosen])
        return found

    def by_folder(self) -> dict[str, NDArray[Any]]:
        """Return which of these files lie in each folder directly below the indexed one; "" are those in it itself."""
        (part,) = self.parts
        index = part.index
        tops = [index.folders[place].partition(b"/")[0] for place in index.run_folders]
        codes = {top: code for code, top in enumerate(sorted(set(tops)))}
        run_of = np.searchsorted(index.run_starts, part.chosen, side="right") - 1
        code_of = np.array([codes[top] for top in tops])[run_of]
        order = np.argsort(code_of, kind="stable")
        starts = np.searchsorted(code_of[order], np.arange(len(codes) + 1))
        spans = {os.fsdecode(top): order[starts[code] : starts[code + 1]] for top, code in codes.items()}
        return {top: span for top, span in spans.items() if len(span)}

    def derived_positions(self, root: Path, key: str, make: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        """Return the positions among these files that `make` chooses by their names, kept beside their index."""
        identity = self.identity(root, by_content=False)
        return self.parts[0].index.derived_numbers(f"{identity}{key}", make) if identity else make()

    def lie_below(self, root: Path) -> bool:
        """Tell whether all folders do."""
        return all(Path(part.folder).is_relative_to(root) for part in self.parts)


def _names(part: Part) -> Iterator[bytes]:
    index, positions = part.index, part.positions
    if positions is None:
        for first, end in zip(index.run_starts, index.run_ends, strict=True):
            yield from index.names(first, end)
        return
    for first in range(0, len(positions), AT_ONCE):
        yield from map(index.name, positions[first : first + AT_ONCE].tolist())


def joined(first: Sequence[Path], second: Sequence[Path]) -> Sequence[Path]:
    """Return the files of both, one after the other."""
    if isinstance(first, IndexedFiles) and isinstance(second, IndexedFiles):
        return first + second
    return [*first, *second]


def with_further(files: Sequence[Path], further: Sequence[Path]) -> Sequence[Path]:
    """Return files, then in path order those further ones that are not among them."""
    if isinstance(files, IndexedFiles) and isinstance(further, IndexedFiles):
        # Images of one file each, which were divided: none is in both.
        return files + IndexedFiles(*(replace(each, positions=np.sort(each.chosen)) for each in further.parts))
    return [*files, *sorted(set(further) - set(files))]


def packed(base: Path, files: Sequence[Path]) -> IndexedFiles:
    """Return files that lie below `base` as a sequence without an object for each; they are measured here."""
    found = Walk()
    for parent, names in groupby(files, lambda file: file.parent):
        found.run_folders.append(len(found.folders))
        found.run_starts.append(len(found.lengths))
        found.run_again.append(False)
        found.folders.append("" if parent == base else str(parent.relative_to(base)))
        encoded = [os.fsencode(file.name) for file in names]
        found.names += encoded
        found.lengths.extend(map(len, encoded))
    with ThreadPoolExecutor(READERS) as readers:
        found.sizes.extend(readers.map(lambda file: size_and_time(file.stat)[0], files))
    return IndexedFiles(Part(Index(Stored({}, found.arrays()), None), str(base), None))
