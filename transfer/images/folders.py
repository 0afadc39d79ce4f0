"""One sub-folder of images per class: the layout of ImageNet and of most people's data."""

from __future__ import annotations

from pathlib import Path

from benchmarks.errors import UserError
from benchmarks.fingerprint import find_images
from benchmarks.image_source import ImageFiles
from transfer.images.labelled import Found


def read_folders(root: Path, folder: Path) -> Found:
    """Read one split; classes are the sub-folders in alphabetical order, as in torchvision's ImageFolder.

    Raises UserError for a missing or flat folder, or an empty class.
    """
    classes = tuple(sorted(path.name for path in folder.iterdir() if path.is_dir())) if folder.is_dir() else ()
    if not classes:
        beside = len(find_images(folder))  # its errors for a missing or empty folder are the right ones here
        rule = "one sub-folder of images per class, or a list that tells each image's class"
        remedy = (
            f"sort the images into {folder}/CLASS/IMAGE, or name the list: data.test_labels=FILE (train_labels for "
            "training images, test_sets.NAME.labels for a further test set)"
        )
        raise UserError.about("data folder", f"{folder} ({beside} images side by side)", rule, remedy)
    files: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        found = find_images(folder / name)
        files += found
        labels += [label] * len(found)
    return Found(ImageFiles(root, files), labels, classes, str(folder), labels_in_names=True)
