"""Reading all labelled images of a recipe: training images, test images, further test sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from benchmarks.data.files import joined, with_further
from benchmarks.data.fingerprint import fingerprint
from benchmarks.data.forms.shards import default_index_folder
from benchmarks.data.remote.paths import data_path
from benchmarks.files.named_files import find_file, sha256_of
from benchmarks.subset import Subset, find_list
from benchmarks.verbs.command import require_root
from transfer.images.classes import ClassList, in_classes, read_class_list, require_every_class, training_classes
from transfer.images.forms import LabelledPlace, read_place
from transfer.images.labelled import ClassificationSets, Found, LabelledImages, TestSet
from transfer.images.overlap import class_map_files, map_parts, with_class_map
from transfer.images.published import require_published_classes
from transfer.images.real import with_accepted
from transfer.images.recipe import ClassificationData, Storage, TestImages
from transfer.images.subset import choose, hold_out

HELD_OUT = "grid.held_out"
"""The field that says which training images are held out."""


def read_classification_data(
    data: ClassificationData, num_classes: int | None, held_out: Subset | None = None
) -> ClassificationSets:
    """Find the images of every split and their classes, and check that they fit each other and the task.

    `held_out` is the part of the training images, those of `data.subset` if there is one, that is not trained on.
    Raises UserError that names the file for whatever is missing, unknown, out of range or empty.
    """
    root = require_root(data.root)
    listed = _class_list(data, root)
    in_train = _found(data, root, data, data.train_split, data.train_labels)
    train = training_classes(in_train, listed, data.first_label, num_classes)
    in_test = _found(data, root, data, data.test_split, data.test_labels)
    test = in_classes(in_test, train.classes, listed, data.first_label)
    require_every_class(test, in_test.labelled_by)

    parts: dict[str, str] = {}
    if data.subset is not None:
        file = find_list(root, data.subset.list)
        train = choose(train, data.subset, file)
        require_every_class(train, "data.subset")
        if file is not None:
            parts["subset list"] = sha256_of(file)
    kept_back = None
    if held_out is not None:
        file = find_list(root, held_out.list, HELD_OUT)
        train, kept_back = hold_out(train, held_out, file, HELD_OUT)
        parts["held-out images"] = kept_back.sha256()
    parts |= _labels_part("train labels", in_train, train) | _labels_part("test labels", in_test, test)
    further = {name: _further(name, images, data, listed, test) for name, images in data.test_sets.items()}
    parts |= _parts_of(further)
    files, images = joined(train.source.files, test.source.files), len(train) + len(test)
    if kept_back is not None:
        files, images = with_further(files, kept_back.source.files), images + len(kept_back)
    found = fingerprint(root, files, images=images, parts=parts, sampled=_one_image_each(test))
    test_sets = {name: read.test_set for name, read in further.items()}
    return ClassificationSets(root, train, test, test_sets, found, kept_back)


def read_test_images(data: ClassificationData, num_classes: int | None) -> ClassificationSets:
    """Find test images alone, for a model that is trained already; the classes are those of the test split.

    Raises UserError as `read_classification_data` does.
    """
    root = require_root(data.root)
    listed = _class_list(data, root)
    in_test = _found(data, root, data, data.test_split, data.test_labels)
    test = training_classes(in_test, listed, data.first_label, num_classes)
    further = {name: _further(name, images, data, listed, test) for name, images in data.test_sets.items()}
    parts = _labels_part("test labels", in_test, test) | _parts_of(further)
    found = fingerprint(root, test.source.files, images=len(test), parts=parts)
    return ClassificationSets(
        root, test.select([]), test, {name: read.test_set for name, read in further.items()}, found
    )


def _one_image_each(images: LabelledImages) -> Sequence[Path]:
    """Return the images' files; none where a file holds several of them."""
    files = images.source.files
    return files if len(files) == len(images) else ()


class _Further(NamedTuple):
    test_set: TestSet
    sha256: str
    """The sha256 of its images, their labels, and the accepted labels."""


def _further(
    name: str, images: TestImages, data: ClassificationData, listed: ClassList | None, test: LabelledImages
) -> _Further:
    """Read a further test set: its own images, or those of the test split."""
    data_root = require_root(data.root)
    root = data_path(images.root) if images.root is not None else data_root
    parts: dict[str, str] = {}
    if images.has_images:
        found = _found(data, root, images, images.split or ".", images.labels)
        if images.class_map is not None:
            files = class_map_files(root, name, images.class_map)
            mapped = with_class_map(name, found, test.classes, files)
            return _read(root, mapped, images, map_parts(files))
        test = in_classes(found, test.classes, _class_list(images, root) or listed, images.first_label)
        parts |= _labels_part("labels", found, test)
        if images.scored_classes == "own":
            require_published_classes(name, test)
    accepted = find_file(root, f"data.test_sets.{name}.accepted", images.accepted)
    if accepted is not None:
        parts["accepted"] = sha256_of(accepted)
        return _read(root, with_accepted(name, test, accepted), images, parts)
    own = tuple(sorted(set(test.labels))) if images.scored_classes == "own" else None
    return _read(root, TestSet(name, test, None, own), images, parts)


def _read(root: Path, test_set: TestSet, images: TestImages, parts: dict[str, str]) -> _Further:
    """Return a test set as it was found, with the border and the crop of its images."""
    files = test_set.images.source.files if images.has_images else []
    mark = fingerprint(root, files, images=len(test_set.images.labels), parts=parts).sha256
    seen = replace(test_set.images, border_px=images.border_px, test_crop=images.test_crop)
    return _Further(replace(test_set, images=seen), mark)


def _parts_of(further: Mapping[str, _Further]) -> dict[str, str]:
    return {f"test set {name}": read.sha256 for name, read in further.items()}


def _found(data: ClassificationData, root: Path, storage: Storage, split: str, labels: str | None) -> Found:
    index_folder = Path(data.index_folder) if data.index_folder is not None else default_index_folder()
    return read_place(LabelledPlace(root, split, storage, find_file(root, "data labels", labels), index_folder))


def _class_list(storage: Storage, root: Path) -> ClassList | None:
    file = find_file(root, "data.classes", storage.classes)
    return None if file is None else read_class_list(file)


def _labels_part(name: str, found: Found, images: LabelledImages) -> dict[str, str]:
    """Return what a fingerprint must cover besides the files; nothing where a file's name contains its label."""
    return {} if found.labels_in_names else {name: images.sha256()}
