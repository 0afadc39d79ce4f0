"""Finding images and videos on disk, and a hash by which two copies of a data set are known to be the same."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.errors import UserError
from benchmarks.files.regular import regular, regular_stat
from benchmarks.runs.content_sample import ContentSample, draw

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".ppm", ".tif", ".tiff", ".webp"}
ARRAY_SUFFIXES = {".npy"}
"""Suffixes of images that no image format holds: arrays [H, W, C] with any number of channels."""
VIDEO_SUFFIXES = {".mp4", ".mkv", ".webm", ".avi", ".mov", ".m4v", ".mpg", ".mpeg", ".flv", ".3gp", ".wmv", ".ts"}
CONTENT_LIMIT_BYTES = 2**30


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


def find_images(folder: Path, suffixes: Collection[str] = frozenset(IMAGE_SUFFIXES)) -> list[Path]:
    """Return all files below `folder` with such a suffix, sorted. Raises UserError when there is no folder or none."""
    return _find(folder, suffixes, "image")


def find_videos(folder: Path) -> list[Path]:
    """Return all videos below `folder`, sorted. Raises UserError when there is no folder or none."""
    return _find(folder, VIDEO_SUFFIXES, "video")


def _find(folder: Path, suffixes: Collection[str], noun: str) -> list[Path]:
    remedy = f"set data.root=FOLDER to where the {noun}s are"
    if not folder.is_dir():
        raise UserError.about("data folder", str(folder), "a folder that exists", remedy)
    found = [Path(parent, name) for parent, names in _walk(folder) for name in names if _has_end(name, suffixes)]
    if not found:
        rule = f"at least one {noun} ({', '.join(sorted(suffixes))})"
        raise UserError.about("data folder", str(folder), rule, remedy)
    return sorted(found)


def _walk(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield every folder below `folder` with its file names; a link back to a folder already seen is not followed."""
    seen = set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        if (real := os.path.realpath(parent)) in seen:
            folders.clear()
            continue
        seen.add(real)
        yield parent, names


def _has_end(name: str, suffixes: Collection[str]) -> bool:
    return os.path.splitext(name)[1].lower() in suffixes and not name.startswith(".")


def fingerprint(
    root: Path,
    files: Sequence[Path],
    *,
    images: int | None = None,
    parts: Mapping[str, str] | None = None,
    noun: str = "image",
    sampled: Collection[Path] = (),
) -> Fingerprint:
    """Hash the relative names of `files` with their bytes, or with their sizes above 1 GiB in all; then the `parts`.

    `images` is how many they hold, where that is not one each; `noun` is what they are called; `sampled` are those of
    the files of which a sample by content is drawn.
    A file that cannot be read (a dangling link or a FIFO) is hashed as unreadable; the loader will name it.
    """
    count = len(files) if images is None else images
    if _WITHOUT_CONTENTS.get():
        return Fingerprint(count, "none", "", parts or {}, noun)
    sizes = [_size_bytes(file) for file in files]
    by_content = sum(size or 0 for size in sizes) <= CONTENT_LIMIT_BYTES
    total = hashlib.sha256()
    for file, size in zip(files, sizes, strict=True):
        mark = _content_sha256(file) if by_content else size
        shown = "unreadable" if mark is None else str(mark)
        total.update(os.fsencode(file.relative_to(root)) + f"\0{shown}\n".encode())
    for name, sha256 in (parts or {}).items():
        total.update(f"{name}\0{sha256}\n".encode())
    wanted = set(sampled)
    sample = draw([(file, size) for file, size in zip(files, sizes, strict=True) if file in wanted])
    return Fingerprint(count, "content" if by_content else "sizes", total.hexdigest(), parts or {}, noun, sample)


def _size_bytes(file: Path) -> int | None:
    try:
        return regular_stat(file).st_size
    except OSError:
        return None


def _content_sha256(file: Path) -> str | None:
    try:
        return hashlib.sha256(regular(file).read_bytes()).hexdigest()
    except OSError:
        return None
