"""What a sheet shows, before it has a format: test images, their truth, and what every run predicts of them."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from transfer.evaluate.rebuild import FinishedRun

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class ShownRun:
    """A finished run, and the name that it has on the sheet."""

    name: str
    run: FinishedRun


@dataclass(frozen=True)
class Cell:
    """The truth, one run's prediction, or one neighbour, of one image."""

    words: str
    pixels: Bytes | None = None
    """[H, W, 3]; None where the words say it all."""
    right: bool | None = None
    """Whether a predicted class is the true one; None of the truth, and where predictions are right in part."""


@dataclass(frozen=True)
class Example:
    """One test image or video."""

    name: str
    truth: Cell
    predictions: tuple[Cell, ...]
    """One for each column of the sheet, in their order."""


@dataclass(frozen=True)
class Swatch:
    """A line of a legend: a class, and its colour as #RRGGBB."""

    name: str
    colour: str


@dataclass(frozen=True)
class Confusion:
    """How often test images of every class (rows) were predicted as every other (columns), by one run."""

    run: str
    classes: tuple[str, ...]
    counts: NDArray[np.int64]


@dataclass(frozen=True)
class Sheet:
    """What is shown of one task."""

    task: str
    noun: str
    columns: tuple[str, ...]
    """What stands beside the truth: every run's prediction; or, of one encoder, every neighbour."""
    examples: tuple[Example, ...]
    legend: tuple[Swatch, ...]
    confusions: tuple[Confusion, ...]
    notes: tuple[str, ...]
    encoder: str | None = None
    """Whose neighbours are shown; None where predictions of runs are."""

    @property
    def stem(self) -> str:
        """The name of the sheet's file, which other sheets may share."""
        return self.task if self.encoder is None else f"{self.task}_neighbours"

    def alternative(self, column: int, name: str) -> str:
        """Return what a picture is, for those who do not see it."""
        return f"{'Prediction of ' if self.encoder is None else ''}{self.columns[column]} for {name}"


class Seen(ABC):
    """The test images of a task with the predictions of several runs; a kind of task derives from this class."""

    noun = "image"
    confusions: Sequence[Confusion] = ()
    legend: Sequence[Swatch] = ()
    """Complete once the examples are made."""

    @property
    @abstractmethod
    def names(self) -> Mapping[str, int]:
        """Return the positions of the test images of which all runs have a prediction, by the images' names."""

    @abstractmethod
    def example(self, position: int) -> Example:
        """Return what is shown of the image at a position. A file that cannot be read is named in its place."""

    @abstractmethod
    def differ(self, position: int, one: int, other: int) -> float:
        """Return how far the predictions of two runs differ on an image, from 0 (alike) to 1."""

    def choose(self, images: int, seed: int, *, disagree: bool, runs: int) -> list[int]:
        """Return the positions of the images to show: drawn by a seed, or those on which the runs differ most.

        Images on which runs differ as much are taken in the order in which they are drawn.
        """
        positions = [self.names[name] for name in drawn(self.names, seed)]
        if disagree:
            pairs = list(combinations(range(runs), 2))
            positions.sort(key=lambda at: -sum(self.differ(at, *pair) for pair in pairs))
        return positions[:images]


def drawn(names: Iterable[str], seed: int) -> list[str]:
    """Return names in an order that depends on them and the seed alone."""
    return sorted(names, key=lambda name: hashlib.sha256(f"{seed}\0{name}".encode(errors="replace")).digest())
