"""Vectors of images on disk, found by what they were made of: written whole, read only where undamaged, bounded.

ROOT/DIGEST/made_of.json        what makes the vectors below: weights, preprocessing, precision, versions
ROOT/DIGEST/SUMMARY/SHA.safetensors    vectors of one summary with their images' keys; the file's sha256 is its name

Files are opened as memory maps. What has another sha256 than its name is removed, never used.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from benchmarks.config import digest_of
from benchmarks.data.content_sample import content_sha256
from benchmarks.files.atomic import make_folder, write_atomically
from benchmarks.files.locks import Locked, locked

FOLDER = "MIMBENCH_FEATURES"
"""The environment variable that names the folder of kept features, where a recipe names none."""
SUFFIX = ".safetensors"
KEYS, VALUES = "keys", "values"
KEY_BYTES = 16
"""An image's key is the beginning of a sha256: 128 bits, of which no two images share all."""


def default_folder() -> Path:
    """Return what MIMBENCH_FEATURES names, or `mimbench/features` in XDG_CACHE_HOME or `~/.cache`."""
    if named := os.environ.get(FOLDER):
        return Path(named)
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "mimbench" / "features"


class Place(NamedTuple):
    """Where a vector lies: in which of a column's files, and in which row."""

    file: int
    row: int


class Column:
    """The kept vectors of one summary."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: list[Tensor] = []
        self.places: dict[bytes, Place] = {}

    def read(self) -> Column:
        """Read what is there, and remove what is damaged; return the column itself."""
        self.files, self.places = [], {}
        for path in sorted(self.folder.glob(f"*{SUFFIX}")):
            with contextlib.suppress(FileNotFoundError):  # removed by another process just now
                if content_sha256(path) == path.stem:
                    os.utime(path)  # it was used: the oldest goes first
                    self._open(path)
                elif path.exists():
                    print(f"warning: damaged features are removed, and computed again: {path}", file=sys.stderr)
                    with contextlib.suppress(OSError):  # what cannot be removed is passed over
                        path.unlink()
        return self

    def _open(self, path: Path) -> None:
        with safe_open(path, framework="pt") as file:
            keys, values = file.get_tensor(KEYS).numpy().tobytes(), file.get_tensor(VALUES)
        number = len(self.files)
        self.files.append(values)
        for row in range(len(values)):
            self.places[keys[row * KEY_BYTES : (row + 1) * KEY_BYTES]] = Place(number, row)

    def write(self, keys: Sequence[bytes], values: Tensor) -> Path:
        """Add vectors [N, D] of images with these keys, as one file; return its path."""
        marks = torch.frombuffer(bytearray(b"".join(keys)), dtype=torch.uint8).reshape(len(keys), KEY_BYTES)
        data = save({KEYS: marks, VALUES: values.cpu().contiguous()})
        make_folder(self.folder)
        path = self.folder / f"{hashlib.sha256(data).hexdigest()}{SUFFIX}"
        write_atomically(path, data)
        return path

    def rows(self, keys: Sequence[bytes]) -> Tensor:
        """Return a copy of the vectors [N, D] of images that are all there."""
        found = self.files[0].new_empty(len(keys), self.files[0].shape[1])
        by_file: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for index, key in enumerate(keys):
            place = self.places[key]
            by_file[place.file].append((index, place.row))
        for number, pairs in by_file.items():
            found[[index for index, _ in pairs]] = self.files[number][[row for _, row in pairs]]
        return found


class Shelf:
    """All vectors that were made alike: by the same weights, from images that were made in the same way."""

    def __init__(self, root: Path, made_of: Mapping[str, object]) -> None:
        self.made_of = made_of
        self.folder = root / digest_of(made_of)[:32]

    def column(self, name: str) -> Column:
        """Return the column of a summary, unread."""
        return Column(self.folder / name)

    @contextlib.contextmanager
    def locked(self, patience_s: float) -> Iterator[None]:
        """Hold the shelf, so that another process waits for what this one computes.

        After `patience_s` seconds the block is entered all the same: then both compute, and the files are the same.
        """
        make_folder(self.folder)
        with contextlib.ExitStack() as held:
            with contextlib.suppress(Locked):
                held.enter_context(locked(self.folder / ".lock", patience_s))
            yield

    def write(self, columns: Mapping[str, Tensor], keys: Sequence[bytes]) -> None:
        """Add the vectors of images, by the names of their columns."""
        note = self.folder / "made_of.json"
        if not note.exists():
            make_folder(self.folder)
            write_atomically(note, json.dumps(self.made_of, indent=2, default=str).encode())
        for name, values in columns.items():
            self.column(name).write(keys, values)


def evict(root: Path, limit_bytes: float, newer_than: int) -> None:
    """Remove the files that were not used for longest until all are within the limit.

    Those that were used since the time `newer_than` (in ns) stay in any case: a run needs all of its own.
    """
    known = []
    for path in root.glob(f"*/*/*{SUFFIX}"):
        with contextlib.suppress(FileNotFoundError):
            state = path.stat()
            known.append((state.st_mtime_ns, state.st_size, path))
    total = sum(size for _, size, _ in known)
    for used, size, path in sorted(known):
        if total <= limit_bytes or used >= newer_than:
            return
        path.unlink(missing_ok=True)
        total -= size
