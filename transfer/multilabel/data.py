"""Images with the classes that stand on them, in the layout of PASCAL VOC: found by the lists of each class.

ImageSets/Main/CLASS_SPLIT.txt    lines of `NAME LABEL`: 1 the class is there, -1 it is not, 0 difficult objects alone
JPEGImages/NAME.jpg
"""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.data.fingerprint import Fingerprint, fingerprint
from benchmarks.data.image_source import ImageFiles
from benchmarks.errors import UserError, first_of
from benchmarks.files.named_files import text_of
from transfer.images.labelled import LabelledImages
from transfer.multilabel.recipe import MultilabelData

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LISTS, IMAGES = Path("ImageSets", "Main"), "JPEGImages"
PLACES = ("", "VOC2007", "VOCdevkit/VOC2007")
"""Where below the root the lists are looked for."""
THERE, ABSENT, DIFFICULT = 1, -1, 0
"""What a list says of a class and an image; DIFFICULT: all its objects there are marked as hard to recognise."""
TRUTH_COLUMNS = ("classes", "difficult")
"""Of predictions.csv, what `LabelledSplit.named` returns."""
READERS = 16
SHOWN = 5


@dataclass(frozen=True)
class LabelledSplit:
    """Images, and what the lists say of each and every class."""

    images: LabelledImages
    """Without labels of their own: those are all zero."""
    truth: NDArray[np.int8]
    """[images, classes] of THERE, ABSENT and DIFFICULT."""

    def __len__(self) -> int:
        return len(self.images)

    def named(self, position: int) -> tuple[str, str]:
        """Return the classes that are on an image, and those of which all objects there are difficult."""
        here = list(zip(self.images.classes, self.truth[position].tolist(), strict=True))
        there, difficult = (" ".join(name for name, label in here if label == value) for value in (THERE, DIFFICULT))
        return there, difficult


@dataclass(frozen=True)
class MultilabelSets:
    """Training and test images with the same classes."""

    root: Path
    train: LabelledSplit
    test: LabelledSplit
    fingerprint: Fingerprint

    @property
    def classes(self) -> tuple[str, ...]:
        return self.train.images.classes

    def test_name(self, position: int) -> str:
        """Return a test image's path below the folder of the lists."""
        return self.test.images.source.name(position)


def read_multilabel(root: Path, data: MultilabelData, num_classes: int | None) -> MultilabelSets:
    """Return the images of both splits with their labels, in the order of their names.

    Raises UserError, naming files, for lists that are missing, empty, malformed or not of the same classes and images,
    for another number of classes than the task has, and for images that are not there.
    """
    folder = next((root / place for place in PLACES if (root / place / LISTS).is_dir()), None)
    if folder is None:
        rule = f"a folder with {LISTS}, itself or as {' or '.join(PLACES[1:])} below it"
        raise UserError.about("data.root", str(root), rule, "unpack the archives of PASCAL VOC there")
    train, test = (_split(folder, f"data.{field}", getattr(data, field)) for field in ("train_split", "test_split"))
    classes, others = train.images.classes, test.images.classes
    if classes != others:
        apart = first_of(sorted({*classes} ^ {*others}), SHOWN)
        rule = f"the same classes in {data.train_split} and {data.test_split}"
        raise UserError.about("data", apart, rule, f"add the lists that are missing in {folder / LISTS}")
    if num_classes not in (None, len(classes)):
        rule = f"{num_classes} classes, as the task has"
        raise UserError.about("data", f"{len(classes)} lists in {folder / LISTS}", rule, "another task, or other data")
    files = [*train.images.source.files, *test.images.source.files]
    with ThreadPoolExecutor(READERS) as readers:  # a network file system answers many at once
        there = list(readers.map(Path.is_file, files))
    if missing := [str(file) for file, found in zip(files, there, strict=True) if not found]:
        rule = f"files, as the lists in {folder / LISTS} name them"
        raise UserError.about("data", first_of(missing, SHOWN), rule, "complete the data")
    parts = {"training labels": _sha256(train), "test labels": _sha256(test)}
    found = fingerprint(folder, files, parts=parts, sampled=test.images.source.files)
    return MultilabelSets(folder, train, test, found)


def _split(folder: Path, field: str, split: str) -> LabelledSplit:
    """Read a split's lists. Raises UserError where they do not all name the same images."""
    import numpy as np

    lists = {
        path.stem.removesuffix(f"_{split}"): _labels(path, field)
        for path in sorted((folder / LISTS).glob(f"*_{split}.txt"))
    }
    if not lists:
        rule = f"a list CLASS_{split}.txt for each class in {folder / LISTS}"
        raise UserError.about(field, split, rule, "check the split's name")
    first, *others = lists
    for name in others:
        if apart := sorted(lists[name].keys() ^ lists[first].keys()):
            rule = f"in both or in none of {first}_{split}.txt and {name}_{split}.txt"
            raise UserError.about(field, first_of(apart, SHOWN), rule, "correct the lists")
    names = sorted(lists[first])
    if not names:
        raise UserError.about(field, f"{split} (no image)", "a line NAME LABEL for each image", "correct the lists")
    source = ImageFiles(folder, [folder / IMAGES / f"{name}.jpg" for name in names])
    truth = np.array([[labels[name] for labels in lists.values()] for name in names], dtype=np.int8)
    return LabelledSplit(LabelledImages(tuple(lists), source, [0] * len(names)), truth)


def _labels(path: Path, field: str) -> dict[str, int]:
    """Return a list's labels by the names of images."""
    found: dict[str, int] = {}
    for number, line in enumerate(text_of(path, field).splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        if len(words) != 2 or words[1] not in ("1", "0", "-1") or words[0] in found or "/" in words[0]:
            rule = "NAME LABEL, where LABEL is 1, 0 or -1, and each name once"
            raise UserError.about(field, f"{path}:{number}: {line}", rule, "correct the line")
        found[words[0]] = int(words[1])
    return found


def _sha256(split: LabelledSplit) -> str:
    """Return a hash over classes, names and labels."""
    total = hashlib.sha256("\n".join(split.images.classes).encode())
    for position, row in enumerate(split.truth.tolist()):
        total.update(f"{split.images.source.name(position)} {row}\n".encode(errors="surrogateescape"))
    return total.hexdigest()
