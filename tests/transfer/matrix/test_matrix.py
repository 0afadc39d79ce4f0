"""Every encoder in every way on every kind of task: as its library computes it, or refused before training in words."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.transfer.matrix.cells import KINDS, LIMIT, row_of
from tests.transfer.matrix.encoders import ENCODERS, HEAVY
from tests.transfer.matrix.table import read, rows

PARAMETERS = [pytest.param(name, marks=[pytest.mark.long] if name in HEAVY else []) for name in ENCODERS]


def test_the_table_has_every_encoder_once() -> None:
    assert list(read()) == list(ENCODERS)
    assert len(ENCODERS) >= 60


@pytest.mark.parametrize("name", PARAMETERS)
def test_the_table_says_what_an_encoder_does(name: str, tmp_path: Path) -> None:
    """Written by `python -m tests.transfer.matrix`; differences are this machine's, and only their limit counts."""
    torch.manual_seed(0)
    row = row_of(ENCODERS[name](tmp_path))
    apart = [cell.difference for cells in row.values() for cell in cells.values() if cell.difference is not None]
    assert max(apart, default=0) < LIMIT
    expected = [{**line, **{kind: line[kind].split()[0] for kind in KINDS}} for line in read()[name]]
    assert [{**line, **{kind: line[kind].split()[0] for kind in KINDS}} for line in rows(name, row)] == expected
