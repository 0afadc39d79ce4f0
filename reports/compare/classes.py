"""Class by class: what one of two rows gains and loses, over the seeds that both have."""

from __future__ import annotations

import csv
import math
import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from benchmarks.runs.folder import RunFolder
from reports.compare.predictions import read_predictions
from reports.records.rows import Row

"""Of tasks other than classification: `class`, a first `MEASURE_percent`, and the count of its size as last column."""


class _Value(NamedTuple):
    """A class in one run: its score in percent, and how much of it the test set has."""

    percent: float
    size: int


@dataclass(frozen=True)
class _Scores:
    """The classes of one run."""

    measure: str
    counted: str
    values: dict[str, _Value]


@dataclass(frozen=True)
class ClassGain:
    """A class's score in percent by each of the two, as the mean over seeds, and the difference by seed."""

    name: str
    size: int
    ours: float
    theirs: float
    by_seed: tuple[float, ...]

    @property
    def gain(self) -> float:
        return self.ours - self.theirs


@dataclass(frozen=True)
class ByClass:
    """All classes that every run has a score for, from the largest gain to the largest loss."""

    measure: str
    """Such as accuracy or IoU, in percent."""
    counted: str
    """What the size of a class is the number of."""
    gains: tuple[ClassGain, ...]
    without: tuple[str, ...]
    """Classes that a run has no score for: their images are in no test set, or nothing was predicted."""


def by_class(ours: Row, theirs: Row) -> ByClass | str:
    """Compare two rows class by class; where that cannot be done, return the reason in words."""
    seeds = sorted(set(ours.seeds) & set(theirs.seeds))
    if not seeds:
        return "no seed in common"
    found = [(_scores(ours.folder(seed)), _scores(theirs.folder(seed))) for seed in seeds]
    pairs = [(mine, other) for mine, other in found if mine is not None and other is not None]
    if len(pairs) < len(found):
        return "not every run has scores by class"
    first = pairs[0][0]
    every = [one for pair in pairs for one in pair]
    if any((one.measure, one.values.keys()) != (first.measure, first.values.keys()) for one in every):
        return "the runs have other classes, or measured something else of them"
    gains = [_gain(name, value.size, pairs) for name, value in first.values.items()]
    told = [one for one in gains if math.isfinite(one.gain)]
    return ByClass(
        first.measure,
        first.counted,
        tuple(sorted(told, key=lambda one: (-one.gain, one.name))),
        tuple(one.name for one in gains if not math.isfinite(one.gain)),
    )


def _gain(name: str, size: int, pairs: Sequence[tuple[_Scores, _Scores]]) -> ClassGain:
    mine = [pair[0].values[name].percent for pair in pairs]
    other = [pair[1].values[name].percent for pair in pairs]
    by_seed = tuple(a - b for a, b in zip(mine, other, strict=True))
    return ClassGain(name, size, statistics.fmean(mine), statistics.fmean(other), by_seed)


def _scores(folder: Path) -> _Scores | None:
    """Return what a run says of its classes; None where it says nothing that can be read."""
    return _of_file(RunFolder(folder).classes) or _of_predictions(RunFolder(folder).predictions)


def _of_file(path: Path) -> _Scores | None:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            header = list(reader.fieldnames or ())
            measure = next(name for name in header if name.endswith("_percent"))
            values = {line["class"]: _Value(float(line[measure] or "nan"), int(line[header[-1]])) for line in reader}
    except (OSError, ValueError, KeyError, TypeError, StopIteration, csv.Error):
        return None
    words = measure.removesuffix("_percent")
    return _Scores("IoU" if words == "iou" else words.replace("_", " "), header[-1], values)


def _of_predictions(path: Path) -> _Scores | None:
    found = read_predictions(path).values()
    images = Counter(one.label for one in found)
    right = Counter(one.label for one in found if one.right)
    values = {name: _Value(100 * right[name] / number, number) for name, number in images.items()}
    return _Scores("accuracy", "images", values) if values else None


def extremes(found: ByClass, most: int) -> Iterator[ClassGain]:
    """Yield the largest gains, then the largest losses, at most so many of each."""
    yield from [one for one in found.gains if one.gain > 0][:most]
    yield from [one for one in found.gains if one.gain < 0][-most:]
