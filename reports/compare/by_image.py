"""Image by image: how often only one of two encoders is right on the same test images."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from benchmarks.files.tables import table_bytes
from benchmarks.runs.folder import RunFolder
from reports.records.rows import Draw, Row


@dataclass(frozen=True)
class Disagreement:
    """How many images, with one seed, only one of the two gets right; `p` is McNemar's exact test, two-sided."""

    draw: Draw
    only_ours: int
    only_theirs: int
    p: float


def by_image(ours: Row, theirs: Row) -> tuple[Disagreement, ...] | str:
    """Compare predictions image by image, seed by seed; where that cannot be done, return the reason in words."""
    shared = ours.pairs_with(theirs)
    if not shared:
        return "no seed in common"
    pairs = [[read_predictions(run.folder) for run in runs] for _, *runs in shared]
    if any(side.empty for pair in pairs for side in pair):
        return "not every run has predictions.csv"
    images = pairs[0][0]["label"]
    if not all(side["label"].equals(images) for pair in pairs for side in pair):
        return "the predictions are of different test images"
    return tuple(_mcnemar(draw, *pair) for (draw, *_), pair in zip(shared, pairs, strict=True))


def read_predictions(folder: Path) -> pd.DataFrame:
    """Return a run's `label` and `predicted` by the image's path, ordered by it; empty where it has no such file."""
    try:
        found = read_text_csv(RunFolder(folder).predictions).set_index("path")[["label", "predicted"]]
    except (OSError, ValueError, KeyError):
        return pd.DataFrame()
    return found[~found.index.duplicated(keep="last")].sort_index()


def read_text_csv(path: Path) -> pd.DataFrame:
    """Return a CSV file whose every cell is text: a class may be called `NA` or `007`.

    Raises OSError where the file cannot be read, and ValueError where it is no CSV in UTF-8, or too large.
    """
    return pd.read_csv(io.BytesIO(table_bytes(path)), dtype=str, keep_default_na=False, index_col=False)


def _mcnemar(draw: Draw, ours: pd.DataFrame, theirs: pd.DataFrame) -> Disagreement:
    from scipy.stats import binomtest

    mine, other = (side["label"] == side["predicted"] for side in (ours, theirs))
    only_ours, only_theirs = int((mine & ~other).sum()), int((other & ~mine).sum())
    total = only_ours + only_theirs
    return Disagreement(draw, only_ours, only_theirs, binomtest(only_ours, total).pvalue if total else 1.0)
