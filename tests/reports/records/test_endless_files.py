"""Files of others that no memory holds: one of them costs its own run at most, never the report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from reports.compare.by_image import read_predictions
from reports.formats import rendered
from reports.leaderboard.board import Request, make
from reports.records.signatures import SIGNED, Signature, signature_of
from reports.tables.csv_json_parquet import typed_rows
from tests.reports import factory

HOLE = 2**40
"""So many bytes a sparse file seems to have; to read them would end in a MemoryError."""


def sparse(name: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        with (folder / name).open("ab") as file:
            file.truncate(HOLE)

    return write


def log_with_a_hole(folder: Path) -> None:
    """Write a log whose beginning and end are honest."""
    path = folder / "metrics.jsonl"
    whole = path.read_bytes()
    with path.open("r+b") as file:
        file.seek(HOLE)
        file.write(b"\n" + whole)


def table(cells: bytes, header: bytes = b"path,label,predicted\n") -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / "predictions.csv").write_bytes(header + cells)

    return write


ENDLESS: dict[str, tuple[Callable[[Path], None], str]] = {
    "a log with a hole": (log_with_a_hole, "damaged: metrics.jsonl has 1,099,511,"),
    "a record with a hole": (sparse("record.json"), "damaged: more than 4,194,304 bytes"),
    "predictions with a hole": (sparse("predictions.csv"), "predictions.csv cannot be read (seed 0)"),
    "classes with a hole": (sparse("classes.csv"), "classes.csv cannot be read (seed 0)"),
    "predictions of five million rows": (table(b"a\n" * 5_000_000), "predictions.csv cannot be read (seed 0)"),
    "predictions of rows that end as a Mac's did": (
        table(b"a\r" * 5_000_000),
        "predictions.csv cannot be read (seed 0)",
    ),
    "predictions of five million columns": (table(b"", b"a," * 5_000_000), "predictions.csv cannot be read (seed 0)"),
    "scores by class with a hole": (sparse("per_class.csv"), ""),
}


@pytest.mark.parametrize("name", ENDLESS)
def test_an_endless_file_costs_its_own_run_at_most(tmp_path: Path, name: str) -> None:
    spoil, words = ENDLESS[name]
    own = factory.TaskUse(name="imagefolder", version=1)  # whose classes are counted in per_class.csv
    spoilt, _ = (factory.write(tmp_path, factory.transfer("simmim", seed, task=own)) for seed in (0, 1))
    spoil(spoilt)
    board = make(Request((str(tmp_path),)))
    (row,) = typed_rows(board)
    assert row["runs"] == 2 - len(board.left_out)
    said = [left.reason for left in board.left_out] or [str(row.get("mark") or "")]
    assert said[0].startswith(words)
    assert b"simmim" in rendered(board, "html")
    assert read_predictions(spoilt).empty


@pytest.mark.parametrize("name", [SIGNED, "another.csv"])
def test_a_signature_of_endless_files_is_wrong_at_once(tmp_path: Path, name: str) -> None:
    folder = factory.write(tmp_path, factory.transfer())
    (folder / SIGNED).write_text('{"files": {"record.json": "ab", "metrics.jsonl": "cd"}}')
    sparse(name)(folder)
    words = {SIGNED: f"{SIGNED}: more than 67,108,864 bytes", "another.csv": "another.csv is not what was signed"}
    assert signature_of(folder, None) == Signature("wrongly signed", words[name])
