"""What the values of a data set's masks mean: which are classes, and which one takes no part. Light to import."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.errors import UserError
from benchmarks.files.named_files import find_file, text_of
from transfer.segmentation.plans.plan import IGNORED, ignored_label
from transfer.segmentation.recipe import SegmentationData

if TYPE_CHECKING:
    import numpy as np

CLASSES = "classes.txt"
"""Where the names of one's own classes are looked for, below the root."""
REMEDY = f"data.classes=NUMBER, data.classes=[NAME, NAME, ...], data.classes=FILE, or {CLASSES} below data.root"


@dataclass(frozen=True)
class MaskValues:
    """The classes in the order of their values."""

    classes: tuple[str, ...]
    first: int
    """The first class's value in masks; the others follow."""
    ignored: int | None
    """The value of pixels outside every class."""

    @property
    def last(self) -> int:
        return self.first + len(self.classes) - 1

    @property
    def sha256(self) -> str:
        return hashlib.sha256(json.dumps([self.classes, self.first, self.ignored]).encode()).hexdigest()

    def labels(self, mask: np.ndarray) -> np.ndarray:
        """Return labels [H, W] that count the classes from 0. Raises ValueError for a mask with another value."""
        import numpy as np

        ignored = mask == self.ignored if self.ignored is not None else np.zeros(mask.shape, bool)
        unknown = ~ignored & ((mask < self.first) | (mask > self.last))
        if unknown.any():
            raise ValueError(f"unknown class {mask[unknown].min()} ({self})")
        outside = ignored_label(len(self.classes))
        counted = mask.astype(np.int32) - self.first
        return np.where(ignored, outside, counted).astype(np.uint8 if outside == IGNORED else np.int32)

    def __str__(self) -> str:
        ignored = f"{self.ignored} is ignored, " if self.ignored is not None else ""
        return f"{ignored}{self.first} to {self.last} are the classes"


def own_values(data: SegmentationData, root: Path) -> MaskValues:
    """Return what a recipe says of its masks. Raises UserError where it says too little, or contradicts itself."""
    first = data.first_label or 0
    values = MaskValues(_own_classes(data, root, first), first, data.ignore_value)
    if len(values.classes) < 2 or len(set(values.classes)) < len(values.classes) or not all(values.classes):
        rule = "two classes or more (a background is one), each with a name of its own"
        raise UserError.about("data.classes", f"{len(values.classes)}: {', '.join(values.classes[:5])}", rule, REMEDY)
    if data.ignore_value is None:
        outside = not first <= IGNORED <= values.last
        return MaskValues(values.classes, first, IGNORED if outside else None)
    if first <= data.ignore_value <= values.last:
        rule = f"no class's value: these are {first} to {values.last}"
        remedy = "another value, or data.first_label=1 where 0 is ignored and the classes follow"
        raise UserError.about("data.ignore_value", data.ignore_value, rule, remedy)
    return values


def _own_classes(data: SegmentationData, root: Path, first: int) -> tuple[str, ...]:
    if isinstance(data.classes, int):
        return tuple(f"class {value}" for value in range(first, first + data.classes))
    if isinstance(data.classes, tuple):
        return data.classes
    given = data.classes or (CLASSES if (root / CLASSES).is_file() else None)
    file = find_file(root, "data.classes", given)
    if file is None:
        raise UserError.about("data.classes", None, "the number of classes, or their names", REMEDY)
    return tuple(line.strip() for line in text_of(file, "data.classes").splitlines() if line.strip())
