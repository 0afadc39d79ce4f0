"""Pictures of a few kilobytes that unfold into hundreds of megabytes."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

SIDE_PX = 13_310
"""Of a square of 177 million pixels: fewer than twice as many as Pillow warns of, which it decodes."""
TOO_MANY = f"TooManyPixels: {SIDE_PX}x{SIDE_PX} are 177,156,100 pixels, of which at most 89,478,485 are read"


def _png(path: Path) -> None:
    row = b"\0" + bytes(-(-SIDE_PX // 8))
    head = struct.pack(">IIBBBBB", SIDE_PX, SIDE_PX, 1, 0, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(row * SIDE_PX, 1)), (b"IEND", b"")]
    parts = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


def _tiff(path: Path) -> None:
    """One strip of zeros, deflated, one bit for each pixel."""
    strip = zlib.compress(bytes(-(-SIDE_PX // 8) * SIDE_PX), 1)
    fields = {256: SIDE_PX, 257: SIDE_PX, 258: 1, 259: 8, 262: 1, 273: 8, 277: 1, 278: SIDE_PX, 279: len(strip)}
    table = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in fields.items())
    head = b"II*\0" + struct.pack("<I", 8 + len(strip))
    path.write_bytes(head + strip + struct.pack("<H", len(fields)) + table + bytes(4))


def _gif(path: Path) -> None:
    """A small first picture on a canvas of that size."""
    frame = b"," + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\0;"
    path.write_bytes(b"GIF89a" + struct.pack("<HHBBB", SIDE_PX, SIDE_PX, 0x80, 0, 0) + bytes(6) + frame)


MAKERS: dict[str, Callable[[Path], None]] = {"PNG": _png, "TIFF": _tiff, "GIF": _gif}
huge_pictures = pytest.mark.parametrize("kind", MAKERS)
"""Of a test with the argument `kind`."""


def put_huge(path: Path, kind: str = "PNG") -> str:
    """Write a picture with too many pixels to `path`, whatever its suffix; return what is said of it."""
    MAKERS[kind](path)
    return TOO_MANY
