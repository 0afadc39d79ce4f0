"""The table of all encoders, ways and kinds of task, as a file in which people look theirs up."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from tests.transfer.matrix.cells import KINDS, Cell

FILE = Path(__file__).parents[3] / "docs" / "encoder_matrix.csv"
FIELDS = ("encoder", "comes as", *KINDS, "why not")


def rows(name: str, row: Mapping[str, Mapping[str, Cell]]) -> Iterator[dict[str, str]]:
    """Yield an encoder's lines: in each cell `ok` and the difference, `refused`, or `assumed`, and at the end why."""
    for way, cells in row.items():
        shown = {kind: _verdict(cell) for kind, cell in cells.items()}
        why = dict.fromkeys(cell.refusal or cell.assumed for cell in cells.values() if cell.difference is None)
        yield {"encoder": name, "comes as": way, **shown, "why not": " | ".join(why)}


def _verdict(cell: Cell) -> str:
    if cell.difference is None:
        return "refused" if cell.refusal else "assumed"
    return f"ok {cell.difference:.0e}"


def read() -> dict[str, list[dict[str, str]]]:
    """Return the lines of the file by encoder; none before it is written."""
    found: dict[str, list[dict[str, str]]] = {}
    if not FILE.exists():
        return found
    with FILE.open(newline="", encoding="utf-8") as lines:
        for line in csv.DictReader(lines):
            found.setdefault(line["encoder"], []).append(line)
    return found


def write(lines: Iterable[dict[str, str]]) -> None:
    """Write the file anew."""
    with FILE.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
