"""Two encoders on the same test images: how often only one of them is right."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.runs.folder import RunFolder
from reports.records.rows import Row


@dataclass(frozen=True)
class Prediction:
    """A test image's class, and the one that was predicted."""

    label: str
    predicted: str

    @property
    def right(self) -> bool:
        return self.label == self.predicted


@dataclass(frozen=True)
class Disagreement:
    """How often, with one seed, only one of the two is right; `p` is McNemar's exact test, two-sided."""

    seed: int
    only_ours: int
    only_theirs: int
    p: float


def on_images(ours: Row, theirs: Row) -> tuple[Disagreement, ...] | str:
    """Compare predictions image by image, seed by seed; where that cannot be done, return the reason in words."""
    seeds = sorted(set(ours.seeds) & set(theirs.seeds))
    if not seeds:
        return "no seed in common"
    pairs = [
        tuple(read_predictions(RunFolder(row.folder(seed)).predictions) for row in (ours, theirs)) for seed in seeds
    ]
    if not all(all(pair) for pair in pairs):
        return "not every run has predictions.csv"
    images = {path: prediction.label for path, prediction in pairs[0][0].items()}
    if any({path: one.label for path, one in side.items()} != images for pair in pairs for side in pair):
        return "the predictions are of different test images"
    return tuple(_mcnemar(seed, *pair) for seed, pair in zip(seeds, pairs, strict=True))


def read_predictions(path: Path) -> dict[str, Prediction]:
    """Return what predictions.csv says by image; empty where there is no such file, or another."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return {line["path"]: Prediction(line["label"], line["predicted"]) for line in csv.DictReader(file)}
    except (OSError, KeyError, UnicodeDecodeError, csv.Error):
        return {}


def _mcnemar(seed: int, mine: Mapping[str, Prediction], other: Mapping[str, Prediction]) -> Disagreement:
    from scipy.stats import binomtest

    only_ours = sum(one.right and not other[path].right for path, one in mine.items())
    only_theirs = sum(other[path].right and not one.right for path, one in mine.items())
    total = only_ours + only_theirs
    return Disagreement(seed, only_ours, only_theirs, binomtest(only_ours, total).pvalue if total else 1.0)
