"""Tables that a run left beside its record, perhaps of anybody: their size is bounded before they are taken apart."""

from __future__ import annotations

from pathlib import Path

from benchmarks.files.regular import read_regular, regular_stat

MOST_BYTES = 2**28
"""Larger tables are not read: predictions of a million images are a third of it."""
MOST_CELLS = 2**22
"""Nor are tables of more cells, each of which costs many times its bytes: it is the predictions of a million images."""


def table_bytes(path: Path) -> bytes:
    """Return the bytes of a table.

    Raises OSError where it is no readable file, and ValueError where it is too large to be read.
    """
    if regular_stat(path).st_size > MOST_BYTES:
        raise ValueError(f"more than {MOST_BYTES:,} bytes")
    data = read_regular(path, MOST_BYTES)
    if data.count(b",") + max(data.count(b"\n"), data.count(b"\r")) > MOST_CELLS:
        raise ValueError(f"more than {MOST_CELLS:,} cells")
    return data
