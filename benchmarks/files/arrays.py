"""Arrays in one file, which processes read as memory that they share.

A file begins with `MAGIC`, the length of a JSON header and the header itself; the arrays follow, each from a multiple
of 64 bytes on. The header has their types, a CRC-32 of each, and what the writer wants to say.
"""

from __future__ import annotations

import json
import mmap
import os
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.files.atomic import write_atomically
from benchmarks.files.json_files import parse_json
from benchmarks.files.regular import regular

MAGIC = b"mimbench arrays 1\n"
ALIGNED_TO = 64
LONGEST_HEADER = 2**24
AT_ONCE = 2**26

Arrays = Mapping[str, NDArray[Any]]


class Stored(NamedTuple):
    """What a file of arrays holds."""

    about: dict[str, Any]
    arrays: dict[str, NDArray[Any]]


def write_arrays(path: Path, about: Mapping[str, Any], arrays: Arrays) -> None:
    """Write one-dimensional arrays with what is said about them. Raises what `write_atomically` raises."""
    rows = [
        {"name": name, "type": array.dtype.str, "count": len(array), "crc": _crc(_bytes(array))}
        for name, array in arrays.items()
    ]
    header = json.dumps({"about": about, "arrays": rows}).encode()
    found = bytearray(MAGIC + struct.pack("<Q", len(header)) + header)
    for array in arrays.values():
        found += bytes(-len(found) % ALIGNED_TO)
        found += _bytes(array)
    write_atomically(path, found)


def read_arrays(path: Path) -> Stored:
    """Return what a file holds; its arrays can only be read, and lie in memory once for all processes.

    Raises OSError where it cannot be read, and ValueError where it is damaged or none of these files.
    """
    with open(regular(path), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        start = file.read(len(MAGIC) + 8)
        if not start.startswith(MAGIC) or len(start) < len(MAGIC) + 8:
            raise ValueError("no file of arrays")
        (length,) = struct.unpack("<Q", start[len(MAGIC) :])
        if length > min(LONGEST_HEADER, size):
            raise ValueError("a header that is too long")
        header = parse_json(file.read(length))
        memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    arrays, place = {}, len(start) + length
    try:
        for row in header["arrays"]:
            kind, count = np.dtype(row["type"]), row["count"]
            place += -place % ALIGNED_TO
            end = place + count * kind.itemsize
            if kind.kind not in "iu" or count < 0 or end > size:
                raise ValueError("an array beyond the end")
            if _crc(memoryview(memory)[place:end]) != row["crc"]:
                raise ValueError(f"the array {row['name']} is damaged")
            arrays[row["name"]] = np.frombuffer(memory, kind, count, place)
            place = end
        return Stored(dict(header["about"]), arrays)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no header of arrays ({error!r})") from None


def compact(values: Any) -> NDArray[Any]:
    """Return whole numbers in the shorter of int32 and int64 that holds them."""
    found = np.asarray(values, dtype=np.int64)
    small = not len(found) or (found.min() >= -(2**31) and found.max() < 2**31)
    return found.astype(np.int32) if small else found


def _bytes(array: NDArray[Any]) -> memoryview:
    return np.ascontiguousarray(array).view(np.uint8).data


def _crc(data: memoryview) -> int:
    found = 0
    for first in range(0, len(data), AT_ONCE):
        found = zlib.crc32(data[first : first + AT_ONCE], found)
    return found
