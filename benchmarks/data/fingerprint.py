"""A hash by which two copies of a data set are known to be the same."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.data.content_sample import ContentSample, content_sha256, draw
from benchmarks.data.remote.paths import RemotePath
from benchmarks.files.regular import size_and_time

if TYPE_CHECKING:
    from numpy.typing import NDArray

CONTENT_LIMIT_BYTES = 2**30
METHOD = 1
"""The version of what is kept of a fingerprint."""


@dataclass(frozen=True)
class Fingerprint:
    """Count and hash of a data set. Equal texts mean equal names and, up to 1 GiB, equal bytes."""

    images: int
    method: str
    """`content` hashes every byte; `sizes` (data sets over 1 GiB) hashes names and sizes;
    `none` hashes nothing (`without_contents`)."""
    sha256: str
    parts: Mapping[str, str] = field(default_factory=dict)
    """sha256 of what it covers beside the files: labels, the list of a subset, further test sets."""
    noun: str = "image"
    sample: ContentSample | None = None
    """Of the files that were named for one; no part of the hash."""

    def __str__(self) -> str:
        return f"{self.images} {self.noun}s, {self.method} {self.sha256[:16]}"


_WITHOUT_CONTENTS: ContextVar[bool] = ContextVar("_WITHOUT_CONTENTS", default=False)


@contextlib.contextmanager
def without_contents() -> Iterator[None]:
    """Within the block no file is opened or measured for a fingerprint: for whoever only counts."""
    token = _WITHOUT_CONTENTS.set(True)
    try:
        yield
    finally:
        _WITHOUT_CONTENTS.reset(token)


def fingerprint(
    root: Path,
    files: Sequence[Path],
    *,
    images: int | None = None,
    parts: Mapping[str, str] | None = None,
    noun: str = "image",
    sampled: Sequence[Path] = (),
) -> Fingerprint:
    """Hash the relative names of `files` with their bytes, or with their sizes above 1 GiB in all; then the `parts`.

    `images` is how many they hold, where that is not one each; `noun` is what they are called; `sampled` are those of
    the files of which a sample by content is drawn.
    A file that cannot be read (a dangling link or a FIFO) is hashed as unreadable; the loader will name it. Of indexed
    files the hash is kept beside their index.
    """
    count = len(files) if images is None else images
    if _WITHOUT_CONTENTS.get():
        return Fingerprint(count, "none", "", parts or {}, noun)

    import numpy as np

    from benchmarks.data.files import IndexedFiles

    sizes = files.sizes if isinstance(files, IndexedFiles) else np.array([*map(_size_bytes, files)], dtype=np.int64)
    by_content = int(np.maximum(sizes, 0).sum(dtype=np.int64)) <= CONTENT_LIMIT_BYTES

    def make() -> dict[str, Any]:
        sample = draw(sampled, sampled.sizes if isinstance(sampled, IndexedFiles) else [*map(_size_bytes, sampled)])
        sha256 = _hashed(root, files, None if by_content else sizes, parts or {})
        return {"sha256": sha256, "sample": sample and sample.model_dump_json()}

    identities = [each.identity(root, by_content) for each in (files, sampled) if isinstance(each, IndexedFiles)]
    if isinstance(files, IndexedFiles) and files and None not in identities and len(identities) == 1 + bool(sampled):
        key = json.dumps([METHOD, by_content, identities, list((parts or {}).items())])
        found = files.parts[0].index.derived(key, make)
    else:
        found = make()
    sample = found["sample"] and ContentSample.model_validate_json(found["sample"])
    return Fingerprint(count, "content" if by_content else "sizes", found["sha256"], parts or {}, noun, sample)


def _hashed(root: Path, files: Sequence[Path], sizes: NDArray[Any] | None, parts: Mapping[str, str]) -> str:
    """Return the hash over names and sizes, or contents where no sizes are given."""
    from benchmarks.data.files import IndexedFiles

    names: Iterator[bytes] = (os.fsencode(file.relative_to(root)) for file in files)
    if isinstance(files, IndexedFiles):
        names = files.names(root)
    total = hashlib.sha256()
    if sizes is None:
        for name, file in zip(names, files, strict=True):
            total.update(name + f"\0{content_sha256(file) or 'unreadable'}\n".encode())
    else:
        for name, size in zip(names, sizes.tolist(), strict=True):
            total.update(b"%b\0%d\n" % (name, size) if size >= 0 else name + b"\0unreadable\n")
    for part, sha256 in parts.items():
        total.update(f"{part}\0{sha256}\n".encode())
    return total.hexdigest()


def _size_bytes(file: Path) -> int:
    """Return a file's size; below 0 for what is no ordinary file."""
    if isinstance(file, RemotePath):
        from benchmarks.data.remote.access import state_of

        return state_of(file).size_bytes
    return size_and_time(file.stat)[0]
