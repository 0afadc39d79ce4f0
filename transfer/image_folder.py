"""One sub-folder of images per class: the layout of ImageNet and of most people's data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.errors import UserError
from benchmarks.fingerprint import Fingerprint, find_images, fingerprint


@dataclass(frozen=True)
class LabelledFiles:
    """Image files with their classes; a label is a position in `classes`."""

    classes: tuple[str, ...]
    files: list[Path]
    labels: list[int]


@dataclass(frozen=True)
class TestSet:
    """Further test images of the same classes."""

    name: str
    images: LabelledFiles
    accepted: tuple[frozenset[int], ...] | None = None
    """The classes that count as right, image by image; an empty set leaves the image out. None: its label alone."""


@dataclass(frozen=True)
class ImageFolders:
    """A training and a test set over the same classes."""

    root: Path
    train: LabelledFiles
    test: LabelledFiles
    fingerprint: Fingerprint
    test_sets: Mapping[str, TestSet] = field(default_factory=dict)
    """On which the final weights are measured too; their metrics are called `NAME_METRIC`."""

    @property
    def classes(self) -> tuple[str, ...]:
        return self.train.classes


def read_image_folders(root: Path, train_split: str, test_split: str, num_classes: int | None) -> ImageFolders:
    """Find both splits below `root` and check that they fit each other and the task.

    Raises UserError for a missing or flat folder, an empty class, or classes that differ.
    """
    train, test = read_split(root / train_split), read_split(root / test_split)
    odd = sorted(set(train.classes) ^ set(test.classes))
    if odd:
        rule = f"the same class folders in {train_split}/ and {test_split}/"
        raise UserError.about("classes", f"only in one of them: {', '.join(odd[:10])}", rule, "add or remove folders")
    if num_classes is not None and len(train.classes) != num_classes:
        rule = f"{num_classes} classes, as the task says"
        remedy = "check data.root, or use the task `imagefolder` for data of your own"
        raise UserError.about("classes", f"{len(train.classes)} folders in {root / train_split}", rule, remedy)
    return ImageFolders(root, train, test, fingerprint(root, train.files + test.files))


def read_split(folder: Path) -> LabelledFiles:
    """Read one split; classes are the sub-folders in alphabetical order, as in torchvision's ImageFolder."""
    find_images(folder)  # its errors for a missing or empty folder are the right ones here
    classes = tuple(sorted(path.name for path in folder.iterdir() if path.is_dir()))
    if not classes:
        rule = "one sub-folder of images per class"
        raise UserError.about("data folder", str(folder), rule, f"sort the images into {folder}/CLASS/IMAGE")
    files: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        found = find_images(folder / name)
        files += found
        labels += [label] * len(found)
    return LabelledFiles(classes, files, labels)
