"""Small pictures that a training reads in every epoch are decoded once, and kept in memory that its workers share."""

from __future__ import annotations

import mmap
import struct
import zlib
from typing import Any

from PIL import Image

MOST_BYTES = 2**28
"""For all pictures of one training and rank: 60,000 of 32x32 in colour take 185 MB of it."""
HEADER = struct.Struct("<III")
"""Width and height of a picture, and the checksum of its pixels."""


class KeptPictures:
    """Decoded pictures of one mode, by position.

    Each has an equal part of the memory, and one that needs more is not kept: of a data set of photographs none is, and
    the system hands out only what is written. Workers forked from this process read what any of them wrote. None waits
    for another: a picture half written by one is, to the others, not there, for its checksum says so.
    """

    def __init__(self, pictures: int, mode: str) -> None:
        self._arguments = pictures, mode
        self._mode, self._part = mode, MOST_BYTES // max(1, pictures)
        self._memory = _anonymous(self._part * pictures) if self._part > HEADER.size else None

    def __reduce__(self) -> tuple[Any, ...]:
        """A process that is not forked has memory of its own."""
        return KeptPictures, self._arguments

    def find(self, position: int) -> Image.Image | None:
        """Return a picture of its own of what was kept, or None."""
        if self._memory is None:
            return None
        first = position * self._part
        width, height, checksum = HEADER.unpack_from(self._memory, first)
        first += HEADER.size
        pixels = self._memory[first : first + width * height * len(self._mode)]
        if not width or zlib.crc32(pixels) != checksum:
            return None
        return Image.frombytes(self._mode, (width, height), pixels)

    def keep(self, position: int, picture: Image.Image) -> None:
        """Keep a picture of the mode, where its part has room for it."""
        size = picture.width * picture.height * len(self._mode)
        if self._memory is None or HEADER.size + size > self._part:
            return
        pixels, first = picture.tobytes(), position * self._part
        self._memory[first + HEADER.size : first + HEADER.size + size] = pixels
        HEADER.pack_into(self._memory, first, picture.width, picture.height, zlib.crc32(pixels))


def _anonymous(size: int) -> mmap.mmap | None:
    """Return memory that forked processes share, of which nothing is taken yet; None where there is no room for it."""
    try:
        return mmap.mmap(-1, size)
    except OSError:
        return None
