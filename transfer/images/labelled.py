"""Images with their classes, as they are read from one place and as a task uses them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from benchmarks.data.fingerprint import Fingerprint
from benchmarks.data.image_source import ImageSource


@dataclass(frozen=True)
class LabelledImages:
    """Images with their classes; a label is a position in `classes`."""

    classes: tuple[str, ...]
    source: ImageSource
    labels: Sequence[int]
    border_px: int = 0
    """How wide a border is cut off all around before anything else is done with an image."""

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, positions: Sequence[int]) -> LabelledImages:
        """Return the images at these positions."""
        labels = [self.labels[at] for at in positions]
        return replace(self, source=self.source.select(positions), labels=labels)

    def sha256(self) -> str:
        """Return a hash over every image's name and class, in order."""
        total = hashlib.sha256()
        for position, label in enumerate(self.labels):
            total.update(f"{self.source.name(position)}\0{self.classes[label]}\n".encode(errors="surrogateescape"))
        return total.hexdigest()


@dataclass(frozen=True)
class TestSet:
    """A further test set with the classes of the training images, not all of which it needs to have."""

    __test__ = False  # no test case of pytest's

    name: str
    images: LabelledImages
    accepted: tuple[frozenset[int], ...] | None
    """The labels that count as right for each image; None where only `images.labels` do."""
    scored: tuple[int, ...] | None = None
    """The classes among which a prediction is made; None: all that the model has."""


@dataclass(frozen=True)
class ClassificationSets:
    """Training and test images with the same classes, and further test sets."""

    root: Path
    train: LabelledImages
    test: LabelledImages
    test_sets: Mapping[str, TestSet]
    fingerprint: Fingerprint
    held_out: LabelledImages | None = None
    """Training images that nothing is trained on, by which a probe is chosen; they are not in `train`."""

    @property
    def classes(self) -> tuple[str, ...]:
        return self.train.classes

    @property
    def train_labels(self) -> Sequence[int]:
        return self.train.labels

    @property
    def files(self) -> str:
        return "images"

    def test_name(self, position: int) -> str:
        """Return a test image's path below the root."""
        return self.test.source.name(position)


@dataclass(frozen=True)
class Found:
    """Images of one place, with the labels that they have there."""

    source: ImageSource
    labels: Sequence[int]
    """Positions in `names`, or numbers whose meaning the place does not state."""
    names: tuple[str, ...] | None
    """What the labels mean; None where the place holds bare numbers."""
    labelled_by: str
    """The folder, file or column that the labels come from, for messages."""
    numbers: Literal["positions", "listed", "ilsvrc"] = "positions"
    """How bare numbers count the classes: in standard order, as a list does (which may differ), or as ILSVRC2012_ID,
    whose order is that of the devkit's meta.mat."""
    labels_in_names: bool = False
    """Whether an image's label is part of its name."""
    noun: str = "image"
    """What messages call one of the files."""
