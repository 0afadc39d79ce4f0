"""Keypoints carried over from one image to another, from the keypoints.csv of their runs."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from benchmarks.engine.samples.images import read_image
from benchmarks.engine.samples.unreadable import UNREADABLE, UnusableError
from benchmarks.errors import UserError
from benchmarks.files.regular import regular
from benchmarks.pictures.small import fit
from transfer.correspondence.data import Pairs
from transfer.show.colours import colour_of
from transfer.show.shown import Bytes, Cell, Example, Seen, ShownRun

RIGHT = 0.1
"""The share of the longer side of the object's box below which a point is in its place."""
DOT_PX = 3

Points = NDArray[np.float64]


class SeenKeypoints(Seen):
    """Pairs of images with the places to which each run carries the keypoints; each point has a colour of its own."""

    noun = "pair"

    def __init__(self, data: Pairs, runs: Sequence[ShownRun]) -> None:
        self.data = data
        self.tables = [_read(each.run.folder.keypoints, data) for each in runs]
        everywhere = set(self.tables[0]).intersection(*self.tables)
        self.positions = {pair.name: at for at, pair in enumerate(data.test) if pair.name in everywhere}

    @property
    def names(self) -> Mapping[str, int]:
        return self.positions

    def differ(self, position: int, one: int, other: int) -> float:
        first, second = (self._found(position, run) for run in (one, other))
        apart = np.linalg.norm(first - second, axis=1) / self.data.test[position].annotation.box_side
        return float((apart >= RIGHT).mean())

    def example(self, position: int) -> Example:
        pair = self.data.test[position]
        known = pair.annotation
        source, true = np.array(known.src_kps), np.array(known.trg_kps)
        second: Image.Image | None = None
        try:
            first, second = (_picture(path) for path in (pair.source, pair.target))
        except (*UNREADABLE, UnusableError) as error:
            truth = Cell(f"{known.category}\n(cannot be read: {type(error).__name__})")
        else:
            truth = Cell(known.category, _beside(_drawn(first, source), _drawn(second, true)))
        cells = []
        for run in range(len(self.tables)):
            found = self._found(position, run)
            right = int((np.linalg.norm(found - true, axis=1) < RIGHT * known.box_side).sum())
            pixels = None if second is None else _drawn(second, found)
            cells.append(Cell(f"{right} of {len(true)} in place", pixels))
        return Example(pair.name, truth, tuple(cells))

    def _found(self, position: int, run: int) -> Points:
        return self.tables[run][self.data.test[position].name]


def _read(path: Path, data: Pairs) -> dict[str, Points]:
    """Return the places of keypoints by the names of pairs. Raises UserError for another file than the run's own."""
    remedy = "every run writes it at its end: run its command again, or leave this run out"
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                found[row["pair"]].append((float(row["x"]), float(row["y"])))
    except (OSError, ValueError, TypeError, LookupError, csv.Error) as error:
        raise UserError.about("keypoints", f"{path}: {error}", "a table with pair, x and y", remedy) from None
    known = {pair.name: len(pair.annotation.trg_kps) for pair in data.test}
    if wrong := [name for name, points in found.items() if known.get(name) != len(points)]:
        raise UserError.about("keypoints", f"{path}: {wrong[0]}", "the keypoints of the data's pairs", remedy)
    return {name: np.array(points) for name, points in found.items()}


def _picture(path: Path) -> Image.Image:
    with regular(path).open("rb") as file:
        image = read_image(file, 3)
    assert isinstance(image, Image.Image)
    return image


def _drawn(image: Image.Image, points: Points) -> Bytes:
    small = fit(image).copy()
    draw = ImageDraw.Draw(small)
    for number, (x, y) in enumerate(points * (small.width / image.width)):
        corners = (x - DOT_PX, y - DOT_PX, x + DOT_PX, y + DOT_PX)
        draw.ellipse(corners, fill=colour_of(number), outline=(0, 0, 0))
    return np.asarray(small)


def _beside(one: Bytes, other: Bytes) -> Bytes:
    height = max(len(one), len(other))
    filled = [np.pad(each, ((0, height - len(each)), (0, 0), (0, 0)), constant_values=255) for each in (one, other)]
    return np.concatenate(filled, axis=1)
