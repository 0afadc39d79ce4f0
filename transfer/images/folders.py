"""Reading one sub-folder of images per class: the layout of ImageNet and of most people's data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from benchmarks.errors import UserError
from benchmarks.files.image_source import ImageFiles
from benchmarks.runs.fingerprint import find_images
from transfer.images.labelled import Found

IMAGE_LISTS = "data.test_labels=FILE (train_labels for training images, test_sets.NAME.labels for a further test set)"


def read_folders(
    root: Path,
    folder: Path,
    find: Callable[[Path], list[Path]] = find_images,
    noun: str = "image",
    lists: str = IMAGE_LISTS,
) -> Found:
    """Read one split; classes are the sub-folders in alphabetical order, as in torchvision's ImageFolder.

    `find` finds a class's files, which messages call `noun`; `lists` says in them how a recipe names a list of labels.
    Raises UserError for a missing folder, one without sub-folders, and an empty class.
    """
    classes = tuple(sorted(path.name for path in folder.iterdir() if path.is_dir())) if folder.is_dir() else ()
    if not classes:
        beside = len(find(folder))  # its errors for a missing or empty folder are the right ones here
        rule = f"one sub-folder of {noun}s per class, or a list that gives each {noun}'s class"
        remedy = f"sort the {noun}s into {folder}/CLASS/{noun.upper()}, or name the list: {lists}"
        raise UserError.about("data folder", f"{folder} ({beside} {noun}s side by side)", rule, remedy)
    files: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        found = find(folder / name)
        files += found
        labels += [label] * len(found)
    return Found(ImageFiles(root, files), labels, classes, str(folder), labels_in_names=True, noun=noun)
