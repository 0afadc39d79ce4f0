"""Scores computed again from what a run wrote of every test image, or of every class."""

from __future__ import annotations

import csv
import hashlib
import io
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.files.tables import table_bytes
from benchmarks.runs.folder import RunFolder
from reports.text import count

WEIGHTED = {"aAcc": ("accuracy_percent", "pixels")}
"""Metrics that weigh the classes of classes.csv, with the columns of score and weight."""
MEANS = {
    "mIoU": "iou_percent",
    "mAcc": "accuracy_percent",
    "box_ap": "box_ap_percent",
    "mask_ap": "mask_ap_percent",
    "mAP11": "ap11_percent",
    "mAP": "ap_percent",
    "pck10": "pck10_percent",
    "pck05": "pck05_percent",
    "pck01": "pck01_percent",
}
"""Metrics that are the mean over the classes of classes.csv that have a score, with its column."""


FEWEST_UNSURE = 20
"""Two trainings do not give so many images the same confidences, to three decimals, unless these are 0 or 1."""


class Recomputed(NamedTuple):
    """What the tables beside a record say."""

    scores: dict[str, float]
    """The metrics that can be computed again, in percent."""
    tested_on: str = ""
    """How many test images predictions.csv has, and a digest of their names and labels; without that file how many
    classes classes.csv has, with their sizes; empty without both."""
    marks: tuple[str, ...] = ()
    """What is odd about the tables, in words."""
    predictions: str = ""
    """The digest of all predictions with their confidences; empty where these tell no trainings apart."""


def recomputed(run: RunFolder, beside: Collection[str]) -> Recomputed:
    """Return what predictions.csv, classes.csv and shots.csv say, of those that are among the names `beside` a record.

    Files that are not there say nothing; those that cannot be read as such tables are marked.
    """
    found: dict[str, float] = {}
    tested_on, predictions, marks = "", "", []
    for name, scores in SCORES.items():
        if name not in beside:
            continue
        rows = _rows(run.path / name)
        again = scores(rows)
        found |= again
        marks += [] if again or _of_several_classes(rows) else [f"{name} cannot be read"]
        if name == RunFolder.predictions.name:
            tested_on, predictions = _test_images(rows), _predictions(rows)
            marks += [f"{name} names {twice:,} images twice"] if (twice := _named_twice(rows)) else []
        elif name == RunFolder.classes.name:
            tested_on = tested_on or _test_classes(rows)
    return Recomputed(found, tested_on, tuple(marks), predictions)


def _of_several_classes(rows: Sequence[Mapping[str, str]]) -> bool:
    """Tell the predictions of images with several classes each, whose scores are in classes.csv."""
    return bool(rows) and {"path", "classes", "difficult"} <= rows[0].keys()


def _named_twice(rows: Sequence[Mapping[str, str]]) -> int:
    return len(rows) - len({row["path"] for row in rows}) if rows and "path" in rows[0] else 0


def _predictions(rows: Sequence[Mapping[str, str]]) -> str:
    """Return the digest of classes and confidences, image by image; empty where few confidences are in between."""
    unsure = sum(0.005 < confidence < 0.995 for confidence in map(_confidence, rows))
    if unsure < FEWEST_UNSURE:
        return ""
    lines = sorted(f"{row.get('path')}\t{row.get('predicted')}\t{row['confidence']}" for row in rows)
    return hashlib.sha256("\n".join(lines).encode(errors="surrogatepass")).hexdigest()[:12]


def _confidence(row: Mapping[str, str]) -> float:
    try:
        return float(row["confidence"])
    except (KeyError, ValueError, TypeError):
        return 0.0


def _test_images(rows: Sequence[Mapping[str, str]]) -> str:
    if not rows or not {"path", "label"} <= rows[0].keys():
        return ""
    return f"{len(rows):,} images with labels ({_digest(rows, 'path', 'label')})"


def _test_classes(rows: Sequence[Mapping[str, str]]) -> str:
    """Return the classes with their sizes, as pixels or objects, which stand in the last column."""
    size = [*rows[0]][-1] if rows else None
    if size is None or "class" not in rows[0] or size.endswith("_percent"):
        return ""
    return f"{count(len(rows), 'class', 'classes')} with {size} ({_digest(rows, 'class', size)})"


def _digest(rows: Sequence[Mapping[str, str]], *columns: str) -> str:
    lines = sorted("\t".join(str(row[column]) for column in columns) for row in rows)
    return hashlib.sha256("\n".join(lines).encode(errors="surrogatepass")).hexdigest()[:8]


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        return list(csv.DictReader(io.StringIO(table_bytes(path).decode("utf-8-sig"), newline="")))
    except (OSError, ValueError, csv.Error):
        return []


def _of_predictions(rows: Sequence[Mapping[str, str]]) -> dict[str, float]:
    """Return top-1 over all images, and the mean of the classes' own."""
    if not rows or not {"label", "predicted"} <= rows[0].keys():
        return {}
    hits: dict[str, list[bool]] = {}
    for row in rows:
        hits.setdefault(row["label"], []).append(row["label"] == row["predicted"])
    by_class = [sum(each) / len(each) for each in hits.values()]
    return {
        "top1": 100 * sum(map(sum, hits.values())) / len(rows),
        "mean_per_class": 100 * math.fsum(by_class) / len(by_class),
    }


def _of_shots(rows: Sequence[Mapping[str, str]]) -> dict[str, float]:
    """Return the mean top-1 and top-5 of the draws that make the run's score."""
    own = [row for row in rows if row.get("note")]
    try:
        names = [name for name in ("top1", "top5") if own and own[0].get(name)]
        return {name: math.fsum(float(row[name]) for row in own) / len(own) for name in names}
    except (ValueError, TypeError, KeyError):
        return {}


def _of_classes(rows: Sequence[Mapping[str, str]]) -> dict[str, float]:
    try:
        found = {name: _mean(rows, column) for name, column in MEANS.items() if rows and column in rows[0]}
        found |= {name: _mean(rows, *columns) for name, columns in WEIGHTED.items() if rows and columns[0] in rows[0]}
    except (ValueError, TypeError, KeyError):
        return {}
    return {name: value for name, value in found.items() if value is not None}


def _mean(rows: Sequence[Mapping[str, str]], column: str, weight: str | None = None) -> float | None:
    known = [(float(row[column]), float(row[weight]) if weight else 1.0) for row in rows if row[column]]
    total = math.fsum(weight for _, weight in known)
    return math.fsum(value * weight for value, weight in known) / total if total else None


SCORES: dict[str, Callable[[Sequence[Mapping[str, str]]], dict[str, float]]] = {
    RunFolder.predictions.name: _of_predictions,
    RunFolder.shots.name: _of_shots,
    RunFolder.classes.name: _of_classes,
}
"""What is computed from which file."""
