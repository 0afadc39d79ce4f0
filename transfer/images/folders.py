"""Reading one sub-folder of images per class: the layout of ImageNet and of most people's data."""

from __future__ import annotations

from pathlib import Path

from benchmarks.data.found import IMAGES, Kind, files_below, files_by_folder
from benchmarks.data.image_source import ImageFiles
from benchmarks.errors import UserError
from transfer.images.labelled import Found

IMAGE_LISTS = "data.test_labels=FILE (train_labels for training images, test_sets.NAME.labels for a further test set)"


def read_folders(root: Path, folder: Path, kind: Kind = IMAGES, lists: str = IMAGE_LISTS) -> Found:
    """Read one split; classes are the sub-folders in alphabetical order, as in torchvision's ImageFolder.

    `kind` is what files belong to a class; `lists` says in messages how a recipe names a list of labels.
    Raises UserError for a missing folder, one without sub-folders, and an empty class.
    """
    found, noun = files_by_folder(folder, kind), kind.noun
    if not found.counts:
        beside = len(files_below(folder, kind))  # its error for an empty folder is the right one here
        rule = f"one sub-folder of {noun}s per class, or a list that gives each {noun}'s class"
        remedy = f"sort the {noun}s into {folder}/CLASS/{noun.upper()}, or name the list: {lists}"
        raise UserError.about("data folder", f"{folder} ({beside} {noun}s side by side)", rule, remedy)
    labels: list[int] = []
    for label, (name, count) in enumerate(found.counts.items()):
        if not count:
            rule = f"at least one {noun} in the folder of every class ({', '.join(sorted(kind.suffixes))})"
            remedy = f"put its {noun}s there, or remove the folder if it is no class"
            raise UserError.about("class folder", str(folder / name), rule, remedy)
        labels += [label] * count
    source, names = ImageFiles(root, found.files), tuple(found.counts)
    return Found(source, labels, names, str(folder), labels_in_names=True, noun=noun)
