"""A few test images with the classes that were predicted of them, from predictions.csv and the images of the data."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from benchmarks.catalogue.tasks import TASKS
from benchmarks.files.pictures import open_picture
from benchmarks.files.pixels import upright_pixels
from benchmarks.files.regular import regular
from benchmarks.pictures.small import fit, picture_url
from benchmarks.runs.environment import found_again
from reports.compare.by_image import read_predictions
from reports.compare.two_sides import Pairing
from reports.leaderboard.section import Section
from reports.records.rows import TransferRun

PICTURE_PX = 96
MOST_PICTURES = 8
MOST_RUNS = 8
MOST_BYTES = 200_000
"""Of all pictures of one task together, as they stand in the page."""
UNREADABLE = (OSError, EOFError, SyntaxError, ValueError, Image.DecompressionBombError)


@dataclass(frozen=True)
class Predicted:
    """A run's class for one image."""

    words: str
    right: bool


@dataclass(frozen=True)
class Pictured:
    """A test image and what was predicted of it."""

    name: str
    label: str
    url: str
    predictions: tuple[Predicted, ...]


@dataclass(frozen=True)
class Gallery:
    """Some test images of a task."""

    task: str
    heading: str
    runs: tuple[str, ...]
    images: tuple[Pictured, ...]
    absent: str
    """Why there is none, in words; empty where there are images."""


def gallery_of(section: Section) -> Gallery | None:
    """Return the images of a task on which its largest group of like rows disagrees most; None of other tasks.

    Of each row the first run counts, and the best rows come first.
    """
    if section.task.kind != "classification" or not section.groups:
        return None
    entries = max(section.groups, key=lambda group: len(group.entries)).entries[:MOST_RUNS]
    runs = {entry.name: entry.row.first for entry in entries}
    which = "test images on which they disagree most" if len(runs) > 1 else "its mistakes first"
    heading = f"What the {'encoders predict' if len(runs) > 1 else 'encoder predicts'}: {which}"
    tables = _tables(runs.values())
    if isinstance(tables, str):
        return Gallery(section.title, heading, tuple(runs), (), tables)
    predicted = pd.concat([table["predicted"] for table in tables], axis=1, join="inner")
    labels = tables[0]["label"].reindex(predicted.index)
    differing = predicted.nunique(axis=1)
    mistaken = predicted.ne(labels, axis=0).sum(axis=1)
    order = sorted(predicted.index, key=lambda name: (-differing[name], -mistaken[name], _drawn(name)))
    return _gallery(section.title, heading, runs, tables, order)


def galleries_of(title: str, pairing: Pairing) -> list[Gallery]:
    """Return the images that A gets right and B wrong, and the reverse, of the first seed that both have."""
    shared = pairing.ours.pairs_with(pairing.theirs)
    if TASKS[pairing.ours.task].kind != "classification" or pairing.unfair or not shared:
        return []
    runs = dict(zip(("A", "B"), shared[0][1:], strict=True))
    tables = _tables(runs.values())
    found = []
    for side, other in (("A", "B"), ("B", "A")):
        heading = f"Test images that {side} gets right and {other} wrong"
        if isinstance(tables, str):
            found.append(Gallery(title, heading, ("A", "B"), (), tables))
            continue
        right = dict(zip(("A", "B"), (table["label"].eq(table["predicted"]) for table in tables), strict=True))
        names = [name for name in tables[0].index if right[side][name] and not right[other].get(name, True)]
        order = sorted(names, key=_drawn)
        if order:
            found.append(_gallery(title, f"{heading}: {len(order):,}", runs, tables, order))
    return found


def _drawn(name: str) -> bytes:
    return hashlib.sha256(name.encode(errors="replace")).digest()


def _tables(runs: Iterable[TransferRun]) -> list[pd.DataFrame] | str:
    tables = [read_predictions(run.folder) for run in runs]
    return "not every run has predictions.csv" if any(table.empty for table in tables) else tables


def _gallery(
    task: str, heading: str, runs: Mapping[str, TransferRun], tables: Sequence[pd.DataFrame], order: Sequence[str]
) -> Gallery:
    """Return the first of the images that can be read, as many as there is room for."""
    first = next(iter(runs.values()))
    root = Path(found_again(first.folder, first.record, first.record.data.root))
    found: list[Pictured] = []
    room = MOST_BYTES
    for name in order[: 4 * MOST_PICTURES]:
        url = _url(root, name)
        if url is None or len(url) > room:
            continue
        lines = [table.loc[name] for table in tables]
        cells = tuple(Predicted(line["predicted"], line["predicted"] == line["label"]) for line in lines)
        found.append(Pictured(name, lines[0]["label"], url, cells))
        room -= len(url)
        if len(found) == MOST_PICTURES:
            break
    absent = "" if found else f"the test images are not at hand as files below {first.record.data.root}"
    return Gallery(task, heading, tuple(runs), tuple(found), absent)


def _url(root: Path, name: str) -> str | None:
    """Return a small picture of a file below the root; None where there is no such file that can be read."""
    try:
        path = (root / name).resolve()
        if not path.is_relative_to(root.resolve()):
            return None
        with open_picture(regular(path)) as image:
            small = fit(upright_pixels(image, "RGB"), PICTURE_PX)
        return picture_url(np.asarray(small))
    except UNREADABLE:
        return None
