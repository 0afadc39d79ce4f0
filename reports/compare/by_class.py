"""Class by class: what one of two rows gains and loses, over the seeds that both have."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from benchmarks.runs.folder import RunFolder
from reports.compare.by_image import read_predictions, read_text_csv
from reports.records.rows import Row


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
    """What is measured of a class, in percent, such as accuracy or IoU."""
    counted: str
    """What is counted for the size of a class, such as images or pixels."""
    gains: tuple[ClassGain, ...]
    without: tuple[str, ...]
    """Classes that a run has no score for: their images are in no test set, or nothing was predicted."""


def by_class(ours: Row, theirs: Row) -> ByClass | str:
    """Compare two rows class by class; where that cannot be done, return the reason in words."""
    pairs = ours.pairs_with(theirs)
    if not pairs:
        return "no seed in common"
    found = [[_read_classes(run.folder) for run in side] for side in zip(*(runs for _, *runs in pairs), strict=True)]
    first = found[0][0]
    if any(run.empty for side in found for run in side):
        return "not every run has scores by class"
    if any(list(run) != list(first) or set(run.index) != set(first.index) for side in found for run in side):
        return "the runs have other classes, or measured something else of them"
    measure, counted = first
    mine, other = (pd.concat([run[measure] for run in side], axis=1).reindex(first.index) for side in found)
    means = [side.apply(statistics.fmean, axis=1) for side in (mine, other)]
    differences = (mine - other).itertuples(index=False, name=None)
    every = [ClassGain(*one) for one in zip(first.index, first[counted], *means, differences, strict=True)]
    gains = sorted((one for one in every if math.isfinite(one.gain)), key=lambda one: (-one.gain, one.name))
    return ByClass(measure, counted, tuple(gains), tuple(one.name for one in every if not math.isfinite(one.gain)))


def _read_classes(folder: Path) -> pd.DataFrame:
    """Return a run's score in percent and size by class, under their names; empty where it has no scores by class.

    classes.csv of tasks other than classification has `class`, a first `MEASURE_percent`, and the size as last column.
    """
    try:
        found = read_text_csv(RunFolder(folder).classes).set_index("class")
        measure = next(name for name in found if name.endswith("_percent"))
        percent, size = found[measure].replace("", "nan").astype(float), found.iloc[:, -1].astype(int)
    except (OSError, ValueError, KeyError, StopIteration):
        return _of_predictions(read_predictions(folder))
    words = measure.removesuffix("_percent").replace("_", " ")
    classes = pd.DataFrame({"IoU" if words == "iou" else words: percent, size.name: size})
    return classes[~classes.index.duplicated(keep="last")]


def _of_predictions(found: pd.DataFrame) -> pd.DataFrame:
    if found.empty:
        return found
    right = (found["label"] == found["predicted"]).groupby(found["label"])
    return pd.DataFrame({"accuracy": 100 * right.sum() / right.size(), "images": right.size()})


def extremes(found: ByClass, most: int) -> Iterator[ClassGain]:
    """Yield the largest gains, then the largest losses, at most `most` of each."""
    yield from [one for one in found.gains if one.gain > 0][:most]
    yield from [one for one in found.gains if one.gain < 0][-most:]
