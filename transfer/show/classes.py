"""Predicted classes of images and videos, from the predictions.csv of their runs."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from PIL import Image
from torch import Tensor

from benchmarks.engine.samples.images import read_image
from benchmarks.engine.samples.unreadable import UNREADABLE, UnusableError
from benchmarks.errors import UserError
from benchmarks.files.tables import table_bytes
from benchmarks.pictures.small import fit
from transfer.images.labelled import ClassificationSets, LabelledImages
from transfer.show.shown import Bytes, Cell, Confusion, Example, Seen, ShownRun
from transfer.video.data.recipe import Decoder
from transfer.video.data.videos import VideoSets

PICTURE_PX = 128
FRAMES = 4
"""How many frames of a video are shown, at the middles of as many equal parts."""


class Prediction(NamedTuple):
    """A line of predictions.csv."""

    label: str
    predicted: str
    confidence: float | None
    """The probability of the predicted class; None in files of earlier versions."""


P = TypeVar("P")


def read_predictions(path: Path) -> dict[str, Prediction]:
    """Return a classifier's predictions by the names of the test images. Raises UserError where there are none."""
    return rows_by_path(path, _prediction, "path, label and predicted")


def rows_by_path(path: Path, made: Callable[[Mapping[str, str]], P], columns: str) -> dict[str, P]:
    """Return what is `made` of each line of a predictions.csv, by the column `path`.

    Raises UserError where there is no line, or one that lacks the `columns`.
    """
    remedy = "every run writes it at its end: run its command again, or leave this run out"
    try:
        text = io.StringIO(table_bytes(path).decode(), newline="")
        rows = {row["path"]: made(row) for row in csv.DictReader(text)}
    except FileNotFoundError:
        raise UserError.about("predictions", str(path), "a file that is there", remedy) from None
    except (OSError, ValueError, TypeError, LookupError, csv.Error) as error:
        rule = f"a table with the columns {columns}"
        raise UserError.about("predictions", f"{path}: {error}", rule, remedy) from None
    if not rows:
        raise UserError.about("predictions", str(path), "at least one line", remedy)
    return rows


def in_all(tables: Sequence[Mapping[str, object]], names: Iterable[str]) -> Mapping[str, int]:
    """Return the positions of those names, in their order, that stand in every table."""
    everywhere = set(tables[0]).intersection(*tables)
    return {name: position for position, name in enumerate(names) if name in everywhere}


def _prediction(row: Mapping[str, str]) -> Prediction:
    confidence = float(row["confidence"]) if row.get("confidence") else None
    if confidence is not None and not 0 <= confidence <= 1:
        raise ValueError(f"a confidence of {confidence}")
    return Prediction(row["label"], row["predicted"], confidence)


class SeenClasses(Seen):
    """Images or videos with the class that each run predicts."""

    def __init__(self, data: ClassificationSets | VideoSets, runs: Sequence[ShownRun], decoder: Decoder) -> None:
        self.data, self.decoder = data, decoder
        self.noun = "video" if isinstance(data, VideoSets) else "image"
        self.runs = [each.name for each in runs]
        self.tables = [read_predictions(each.run.folder.predictions) for each in runs]
        for each, table in zip(runs, self.tables, strict=True):
            self._require_truth(each.run.folder.predictions, table)

    def _require_truth(self, path: Path, table: Mapping[str, Prediction]) -> None:
        labels = (
            [video.label for video in self.data.test] if isinstance(self.data, VideoSets) else self.data.test.labels
        )
        truth = {self.data.test_name(position): self.data.classes[label] for position, label in enumerate(labels)}
        for name, line in table.items():
            if truth.get(name) != line.label:
                rule = f"the class that the data give this {self.noun} ({truth.get(name, 'it is not among them')})"
                remedy = "the file was changed, or is another run's: make the run again"
                raise UserError.about(f"label of {name} in {path}", line.label, rule, remedy)

    @cached_property
    def names(self) -> Mapping[str, int]:
        return in_all(self.tables, map(self.data.test_name, range(len(self.data.test))))

    def differ(self, position: int, one: int, other: int) -> float:
        name = self.data.test_name(position)
        return float(self.tables[one][name].predicted != self.tables[other][name].predicted)

    def example(self, position: int) -> Example:
        name = self.data.test_name(position)
        lines = [table[name] for table in self.tables]
        try:
            pixels, words = self._pixels(position), lines[0].label
        except (*UNREADABLE, UnusableError) as error:
            pixels, words = None, f"{lines[0].label}\n(cannot be read: {type(error).__name__})"
        return Example(name, Cell(words, pixels), tuple(_cell(line) for line in lines))

    def _pixels(self, position: int) -> Bytes:
        if isinstance(self.data, VideoSets):
            return self._frames(self.data.test[position].path)
        return picture_of(self.data.test, position)

    def _frames(self, path: Path) -> Bytes:
        from transfer.video.data.decode import reader_of

        with reader_of(self.decoder)(path) as video:
            middles = [(2 * part + 1) * video.number_of_frames // (2 * FRAMES) for part in range(FRAMES)]
            frames: Tensor = video.frames(middles)
        pictures = [np.asarray(fit(Image.fromarray(each), PICTURE_PX)) for each in frames.permute(0, 2, 3, 1).numpy()]
        return np.concatenate(pictures, axis=1)

    @cached_property
    def confusions(self) -> Sequence[Confusion]:  # type: ignore[override]
        return [_confusion(run, self.data.classes, table) for run, table in zip(self.runs, self.tables, strict=True)]


def picture_of(images: LabelledImages, position: int) -> Bytes:
    """Return an image as it is shown. Raises one of UNREADABLE, or UnusableError, where it cannot be read."""
    with images.source.open(position) as stream:
        image = read_image(stream, 3)
    assert isinstance(image, Image.Image)
    return np.asarray(fit(image, PICTURE_PX))


def _cell(line: Prediction) -> Cell:
    confidence = "" if line.confidence is None else f", {100 * line.confidence:.0f} %"
    return Cell(f"{line.predicted}{confidence}", right=line.predicted == line.label)


def _confusion(run: str, classes: Sequence[str], table: Mapping[str, Prediction]) -> Confusion:
    from sklearn.metrics import confusion_matrix

    lines = table.values()
    known = tuple(dict.fromkeys([*classes, *(line.predicted for line in lines)]))
    counts = confusion_matrix([line.label for line in lines], [line.predicted for line in lines], labels=list(known))
    return Confusion(run, known, counts)
