"""Keys of images: the same image has the same key in every data set, or at least at every start of a run."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from benchmarks.data.fingerprint import CONTENT_LIMIT_BYTES
from benchmarks.data.image_source import ImageSource
from benchmarks.files.regular import size_and_time
from transfer.classification.frozen.shelf import KEY_BYTES


def image_keys(source: ImageSource) -> Sequence[bytes]:
    """Return a key for each image of a source.

    Of up to 1 GiB of files, it is made of the image's bytes, whatever the image is called and however it is stored;
    above, as a fingerprint is, of its name and of its file's size.
    """
    files = source.files
    sizes = [_size(path) for path in files]
    if sum(sizes) <= CONTENT_LIMIT_BYTES:
        return [_key(_content(source, position)) for position in range(len(source))]
    if len(files) == len(source):
        marks: Sequence[object] = sizes
    else:
        held = hashlib.sha256(
            "".join(f"{path.name}\0{size}\n" for path, size in zip(files, sizes, strict=True)).encode()
        )
        marks = [held.hexdigest()] * len(source)
    return [
        _key(f"{source.name(position)}\0{mark}".encode(errors="surrogateescape")) for position, mark in enumerate(marks)
    ]


def _key(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()[:KEY_BYTES]


def _content(source: ImageSource, position: int) -> bytes:
    """Return an image's bytes, or its name where it cannot be read: no vector will be kept of it."""
    try:
        with source.open(position) as stream:
            return stream.read()
    except OSError:
        return source.name(position).encode(errors="surrogateescape")


def _size(path: Path) -> int:
    return max(0, size_and_time(path.stat)[0])
