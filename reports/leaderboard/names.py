"""What rows are called: their encoder's label and, where others share it, what tells them apart."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from benchmarks.catalogue.backbones import backbone_name
from reports.records.architectures import architecture_name
from reports.records.rows import Row


def names_of(rows: Sequence[Row]) -> dict[int, str]:
    """Return a name for each row, by its `id()`: its label and, where others share that, what distinguishes it."""
    names = {id(row): row.encoder.label for row in rows}
    for mark in (_collection, _backbone, _architecture, _weights):
        sharing = Counter(names.values())
        marks: dict[str, dict[int, str]] = defaultdict(dict)
        for row in rows:
            if sharing[name := names[id(row)]] > 1:
                marks[name][id(row)] = mark(row)
        for name, own in marks.items():
            if len(set(own.values())) > 1:
                names |= {row: f"{name} ({word})" for row, word in own.items()}
    return names


def _collection(row: Row) -> str:
    return row.collection


def _backbone(row: Row) -> str:
    return backbone_name(row.architecture) or "unnamed backbone"


def _architecture(row: Row) -> str:
    return architecture_name(row.architecture)


def _weights(row: Row) -> str:
    return (row.encoder.sha256 or row.encoder.reference)[:8]
