"""Predicted classes of images on which several may stand, from the predictions.csv of their runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

from benchmarks.engine.samples.unreadable import UNREADABLE, UnusableError
from benchmarks.errors import UserError
from transfer.multilabel.data import TRUTH_COLUMNS, MultilabelSets
from transfer.show.classes import in_all, picture_of, rows_by_path
from transfer.show.shown import Cell, Example, Seen, ShownRun


class Labels(NamedTuple):
    """A line of predictions.csv."""

    truth: tuple[str, ...]
    predicted: frozenset[str]
    """The classes with a decision value above zero."""


def _labels(row: Mapping[str, str]) -> Labels:
    truth = tuple(row[column] for column in TRUTH_COLUMNS)
    values = {name: float(text) for name, text in row.items() if name not in ("path", *TRUTH_COLUMNS)}
    return Labels(truth, frozenset(name for name, value in values.items() if value > 0))


class SeenLabels(Seen):
    """Images with all classes that each run predicts."""

    def __init__(self, data: MultilabelSets, runs: Sequence[ShownRun]) -> None:
        self.data = data
        self.tables = []
        truth = {data.test_name(position): data.test.named(position) for position in range(len(data.test))}
        for each in runs:
            path = each.run.folder.predictions
            table = rows_by_path(path, _labels, ", ".join(("path", *TRUTH_COLUMNS, *data.classes)))
            if wrong := [name for name, line in table.items() if truth.get(name) != line.truth]:
                remedy = "the file was changed, or is another run's: make the run again"
                raise UserError.about(f"{path}", wrong[0], "the classes that the data give this image", remedy)
            self.tables.append(table)

    @cached_property
    def names(self) -> Mapping[str, int]:
        return in_all(self.tables, map(self.data.test_name, range(len(self.data.test))))

    def differ(self, position: int, one: int, other: int) -> float:
        name = self.data.test_name(position)
        first, second = (self.tables[run][name].predicted for run in (one, other))
        return len(first ^ second) / max(1, len(first | second))

    def example(self, position: int) -> Example:
        name = self.data.test_name(position)
        there, difficult = (set(names.split()) for names in self.data.test.named(position))
        words = ", ".join([*sorted(there), *(f"({each})" for each in sorted(difficult))]) or "none"
        try:
            truth = Cell(words, picture_of(self.data.test.images, position))
        except (*UNREADABLE, UnusableError) as error:
            truth = Cell(f"{words}\n(cannot be read: {type(error).__name__})")
        found = [table[name].predicted for table in self.tables]
        cells = (Cell(", ".join(sorted(each)) or "none", right=each - difficult == there) for each in found)
        return Example(name, truth, tuple(cells))
