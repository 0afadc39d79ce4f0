"""`python -m tests.transfer.matrix [ENCODER ...]`: measure every cell, or those of some encoders; write the table."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path

import torch

from tests.transfer.matrix.cells import row_of
from tests.transfer.matrix.encoders import ENCODERS
from tests.transfer.matrix.table import FILE, read, rows, write


def measured(wanted: Collection[str]) -> Iterator[dict[str, str]]:
    """Yield the lines of all encoders, those of others than the `wanted` as they stand."""
    known = read()
    for name, make in ENCODERS.items():
        if wanted and name not in wanted:
            yield from known.get(name, ())
            continue
        print(name, file=sys.stderr)
        torch.manual_seed(0)
        with tempfile.TemporaryDirectory() as folder:
            yield from rows(name, row_of(make(Path(folder))))


write(list(measured(sys.argv[1:])))
print(f"written: {FILE}")
