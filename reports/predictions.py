"""Two encoders on the same test images: which of them is right where, class by class."""

from __future__ import annotations

import csv
import statistics
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.rundir import RunFolder
from reports.rows import Row


@dataclass(frozen=True)
class Prediction:
    """A test image's class, and the one that was predicted."""

    label: str
    predicted: str

    @property
    def right(self) -> bool:
        return self.label == self.predicted


@dataclass(frozen=True)
class ClassGain:
    """A class's accuracy in percent, as the mean over seeds, by each of the two."""

    name: str
    images: int
    ours: float
    theirs: float

    @property
    def gain(self) -> float:
        return self.ours - self.theirs


@dataclass(frozen=True)
class Disagreement:
    """How often, with one seed, only one of the two is right; `p` is McNemar's exact test, two-sided."""

    seed: int
    only_ours: int
    only_theirs: int
    p: float


@dataclass(frozen=True)
class OnImages:
    """What the predictions of two rows say, over the seeds that both have."""

    classes: tuple[ClassGain, ...]
    """From the largest gain to the largest loss."""
    disagreements: tuple[Disagreement, ...]


def on_images(ours: Row, theirs: Row) -> OnImages | str:
    """Compare predictions image by image; where that cannot be done, return the reason in words."""
    seeds = sorted(set(ours.seeds) & set(theirs.seeds))
    if not seeds:
        return "no seed in common"
    pairs = [(_read(ours, seed), _read(theirs, seed)) for seed in seeds]
    if any(not mine or not other for mine, other in pairs):
        return "not every run has predictions.csv"
    images = {path: prediction.label for path, prediction in pairs[0][0].items()}
    if any({path: one.label for path, one in side.items()} != images for pair in pairs for side in pair):
        return "the predictions are of different test images"
    gains = sorted(_classes(pairs), key=lambda one: (-one.gain, one.name))
    tests = (_mcnemar(seed, mine, other) for seed, (mine, other) in zip(seeds, pairs, strict=True))
    return OnImages(tuple(gains), tuple(tests))


def _read(row: Row, seed: int) -> dict[str, Prediction]:
    """Return the predictions by image of the run with this seed; empty where there are none that can be read."""
    folder = next(run.folder for run in row.runs if run.record.seed == seed)
    return read_predictions(RunFolder(folder).predictions)


def read_predictions(path: Path) -> dict[str, Prediction]:
    """Return what predictions.csv says by image; empty where there is no such file, or another."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return {line["path"]: Prediction(line["label"], line["predicted"]) for line in csv.DictReader(file)}
    except (OSError, KeyError, UnicodeDecodeError, csv.Error):
        return {}


def _classes(pairs: Sequence[tuple[Mapping[str, Prediction], Mapping[str, Prediction]]]) -> list[ClassGain]:
    images = Counter(one.label for one in pairs[0][0].values())
    ours: dict[str, list[float]] = defaultdict(list)
    theirs: dict[str, list[float]] = defaultdict(list)
    for mine, other in pairs:
        for accuracies, side in ((ours, mine), (theirs, other)):
            right = Counter(one.label for one in side.values() if one.right)
            for name, number in images.items():
                accuracies[name].append(100 * right[name] / number)
    return [
        ClassGain(name, number, statistics.fmean(ours[name]), statistics.fmean(theirs[name]))
        for name, number in images.items()
    ]


def _mcnemar(seed: int, mine: Mapping[str, Prediction], other: Mapping[str, Prediction]) -> Disagreement:
    from scipy.stats import binomtest

    only_ours = sum(one.right and not other[path].right for path, one in mine.items())
    only_theirs = sum(other[path].right and not one.right for path, one in mine.items())
    total = only_ours + only_theirs
    return Disagreement(seed, only_ours, only_theirs, binomtest(only_ours, total).pvalue if total else 1.0)
