"""JSON that others may have written is read here: whatever is wrong with it is one kind of error.

Its size and the number of its values are bounded before anything is made of it: a value costs many times its bytes, and
a mistake in each of them more again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic_core import from_json

from benchmarks.files.regular import read_regular

LARGEST_BYTES = 2**26
MOST_VALUES = 2**22
LONGEST_PATH_BYTES = 4095
LONGEST_NAME_BYTES = 255
"""Of Linux: of a path, and of one name in it."""


def read_json(path: Path) -> Any:
    """Return what a JSON file holds.

    Raises OSError where it cannot be read, and ValueError for what is no JSON in UTF-8, too large or nested too deeply.
    """
    return parse_json(read_json_bytes(path))


def read_json_bytes(path: Path, most_bytes: int = LARGEST_BYTES, most_values: int = MOST_VALUES) -> bytes:
    """Return the bytes of a JSON file, for a reader of its own.

    Raises OSError where it is no readable file, and ValueError where it is too large or may hold too many values, which
    commas tell: those in texts count, too.
    """
    data = read_regular(path, most_bytes + 1)
    if len(data) > most_bytes:
        raise ValueError(f"more than {most_bytes:,} bytes")
    if data.count(b",") >= most_values:
        raise ValueError(f"more than {most_values:,} values")
    return data


def parse_json(text: str | bytes) -> Any:
    """Return what JSON text stands for. Raises ValueError for what is no JSON, or nested too deeply to be read.

    What Python's own reader lets pass is none: halves of surrogate pairs, which cannot be printed.
    """
    return from_json(text)


def path_from(text: object) -> Path:
    """Return the path that a file names. Raises ValueError for what can be none on any file system."""
    if not isinstance(text, str) or not text or "\0" in text:
        raise ValueError("no path")
    encoded = text.encode()
    if len(encoded) > LONGEST_PATH_BYTES or max(map(len, encoded.split(b"/"))) > LONGEST_NAME_BYTES:
        raise ValueError("a path that is too long")
    return Path(text)
