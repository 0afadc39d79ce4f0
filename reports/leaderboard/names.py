"""What rows are called: their encoder's label and, where others share it, what tells them apart."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from benchmarks.catalogue.backbones import backbone_name
from reports.records.architectures import architecture_name
from reports.records.rows import Row


def names_of(rows: Sequence[Row]) -> dict[int, str]:
    """Return a name for each row, by its `id()`: its label and, where others share that, what distinguishes it."""
    names = {id(row): row.encoder.label for row in rows}
    for mark in (_collection, _backbone, _architecture, _weights):
        marks: dict[str, set[str]] = defaultdict(set)
        for row in rows:
            marks[names[id(row)]].add(mark(row))
        for row in rows:
            name = names[id(row)]
            names[id(row)] = f"{name} ({mark(row)})" if len(marks[name]) > 1 else name
    return names


def _collection(row: Row) -> str:
    return row.collection


def _backbone(row: Row) -> str:
    return backbone_name(row.architecture) or "unnamed backbone"


def _architecture(row: Row) -> str:
    return architecture_name(row.architecture)


def _weights(row: Row) -> str:
    return (row.encoder.sha256 or row.encoder.reference)[:8]
