"""Every encoder in every way on every kind of task: as its library computes it, or refused before training in words."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.transfer.matrix.cells import KINDS, LIMIT, row_of
from tests.transfer.matrix.encoders import ENCODERS
from tests.transfer.matrix.table import read, rows

pytestmark = pytest.mark.long  # every encoder of the table on every task


def test_the_table_has_every_encoder_once() -> None:
    assert len(ENCODERS) >= 60
    assert list(read()) == list(ENCODERS)


@pytest.mark.parametrize("name", ENCODERS)
def test_an_encoder_is_as_its_library_computes_it_or_refused(name: str, tmp_path: Path) -> None:
    """Refusals are held to have field, value, rule and remedy where they are gathered. The written table
    says the same; differences are this machine's, and only their limit counts.
    """
    torch.manual_seed(0)
    row = row_of(ENCODERS[name](tmp_path))
    cells = [cell for cells in row.values() for cell in cells.values()]
    assert max((cell.difference for cell in cells if cell.difference is not None), default=0) < LIMIT
    assert all(cell.difference is not None or cell.refusal or cell.assumed for cell in cells)
    assert list(map(_verdicts, rows(name, row))) == list(map(_verdicts, read()[name]))


def _verdicts(line: dict[str, str]) -> dict[str, str]:
    return {**line, **{kind: line[kind].split()[0] for kind in KINDS}}
