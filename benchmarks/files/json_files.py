"""JSON that others may have written is read here: whatever is wrong with it is one kind of error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

LARGEST_BYTES = 2**26


def read_json(path: Path) -> Any:
    """Return what a JSON file holds.

    Raises OSError where it cannot be read, and ValueError for what is no JSON in UTF-8, too large or nested too deeply.
    """
    with path.open("rb") as file:
        data = file.read(LARGEST_BYTES + 1)
    if len(data) > LARGEST_BYTES:
        raise ValueError(f"more than {LARGEST_BYTES:,} bytes")
    return parse_json(data.decode())


def parse_json(text: str) -> Any:
    """Return what JSON text stands for. Raises ValueError for what is no JSON, or nested too deeply to be read."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
