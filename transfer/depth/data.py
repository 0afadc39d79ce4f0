"""Images with depth maps, found by the lists that name them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from benchmarks.data.fingerprint import Fingerprint, fingerprint
from benchmarks.errors import UserError, first_of
from benchmarks.files.named_files import find_file, text_of
from transfer.depth.recipe import DepthData

READERS = 16
SHOWN = 5
WITHOUT_DEPTH = "None"
"""What stands in a list in the place of a depth map that is missing."""


@dataclass(frozen=True)
class DepthPair:
    """An image and its depth map."""

    image: Path
    depth: Path


@dataclass(frozen=True)
class DepthSets:
    """Training and test images with their depth maps."""

    root: Path
    train: list[DepthPair]
    test: list[DepthPair]
    values_per_metre: float
    fingerprint: Fingerprint

    @property
    def classes(self) -> tuple[str, ...]:
        """There are none: a pixel has a distance."""
        return ()

    def name(self, pair: DepthPair) -> str:
        """Return an image's path below the root without its suffix."""
        return pair.image.relative_to(self.root).with_suffix("").as_posix()


def read_depths(root: Path, data: DepthData) -> DepthSets:
    """Return what both lists name, in the order of the images' names.

    Raises UserError for a list that is missing, empty or has a line without an image and a depth map below the root,
    and for files that are not there.
    """
    train, test = (_listed(root, f"data.{field}", getattr(data, field)) for field in ("train_list", "test_list"))
    pairs = list(dict.fromkeys([*train, *test]))
    files = [path for pair in pairs for path in (pair.image, pair.depth)]
    with ThreadPoolExecutor(READERS) as readers:  # a network file system answers many at once
        there = list(readers.map(Path.is_file, files))
    if missing := [str(path) for path, found in zip(files, there, strict=True) if not found]:
        rule = f"files below {root}, as {data.train_list} and {data.test_list} name them"
        raise UserError.about("data", first_of(missing, SHOWN), rule, "complete the data, or correct the lists")
    parts = {"training": _sha256(root, train), "test": _sha256(root, test), "scale": repr(data.values_per_metre)}
    found = fingerprint(root, files, images=len(pairs), parts=parts, sampled=[pair.image for pair in test])
    return DepthSets(root, train, test, data.values_per_metre, found)


def _sha256(root: Path, pairs: Sequence[DepthPair]) -> str:
    """Return a hash over which image has which depth map."""
    names = ((each.relative_to(root).as_posix() for each in (pair.image, pair.depth)) for pair in pairs)
    return hashlib.sha256("".join(" ".join(both) + "\n" for both in names).encode()).hexdigest()


def _listed(root: Path, field: str, given: str) -> list[DepthPair]:
    file = find_file(root, field, given)
    assert file is not None, "a list has a name"
    pairs = [
        _pair(root, field, f"{file}:{number}", line.split())
        for number, line in enumerate(text_of(file, field).splitlines(), start=1)
        if line.strip() and line.split()[1:2] != [WITHOUT_DEPTH]
    ]
    if not pairs:
        raise UserError.about(field, f"{file} (no image)", "a line IMAGE DEPTH FOCAL for each image", "fix the list")
    return sorted(pairs, key=lambda pair: pair.image)


def _pair(root: Path, field: str, where: str, words: Sequence[str]) -> DepthPair:
    names = [PurePosixPath(word.lstrip("/")) for word in words[:2]]
    if len(names) < 2 or any(".." in name.parts for name in names):
        rule = "IMAGE DEPTH FOCAL, paths below the root without spaces"
        raise UserError.about(field, f"{where}: {' '.join(words)}", rule, "correct the line")
    return DepthPair(root / names[0], root / names[1])
