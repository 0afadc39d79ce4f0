"""Turning the labels of one place into the model's classes, by name or by number in a stated order."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmarks.data.pack.manifest import read_manifest
from benchmarks.errors import UserError, first_of
from benchmarks.files.named_files import text_of
from transfer.images.labelled import Found, LabelledImages

WNID = re.compile(r"n\d{8}")
SHOWN = 10


@dataclass(frozen=True)
class ClassList:
    """Class names in the order of their numbers."""

    file: Path
    names: tuple[str, ...]
    ids: bool
    """Whether the numbers are ILSVRC2012_ID, which count from 1."""


def read_class_list(file: Path) -> ClassList:
    """Read a text file with one name per line (a wnid may be followed by words), a devkit's meta.mat, or the file that
    `mimbench data pack` writes beside its shards."""
    names = READERS.get(file.suffix, _lines)(file)
    twice = sorted({name for name in names if names.count(name) > 1})[:SHOWN]
    if twice or not names:
        value = f"{file}: {', '.join(twice)}" if twice else str(file)
        raise UserError.about("data.classes", value, "each class once, one per line", "correct the file")
    return ClassList(file, names, file.suffix == ".mat")


def _lines(file: Path) -> tuple[str, ...]:
    lines = [line.strip() for line in text_of(file, "data.classes").splitlines()]
    return tuple(line.split()[0] if WNID.match(line) else line for line in lines if line)


def _meta_mat(file: Path) -> tuple[str, ...]:
    """Return the wnids of ILSVRC2012_ID 1, 2, ...; synsets with children come after the classes and are left out."""
    from scipy.io import loadmat  # reads numbers and text, runs nothing

    try:
        rows = loadmat(file, squeeze_me=True)["synsets"]
        leaves = {int(row["ILSVRC2012_ID"]): str(row["WNID"]) for row in rows if int(row["num_children"]) == 0}
    except (OSError, ValueError, KeyError, IndexError, TypeError, NotImplementedError) as error:
        rule = "the devkit's meta.mat, with its table `synsets`"
        raise UserError.about("data.classes", f"{file} ({error})", rule, "take it from the devkit again") from None
    if sorted(leaves) != list(range(1, len(leaves) + 1)):
        rule = "classes numbered 1, 2, ... without a gap by ILSVRC2012_ID"
        raise UserError.about("data.classes", str(file), rule, "take it from the devkit again")
    return tuple(leaves[number] for number in sorted(leaves))


def _packed(file: Path) -> tuple[str, ...]:
    classes = None if (found := read_manifest(file)) is None else found.source.classes
    if classes is None:
        raise UserError.about("data.classes", str(file), "of images with classes", "name a list of the classes")
    return classes


READERS = {".mat": _meta_mat, ".json": _packed}


def standard_order(names: Iterable[str]) -> tuple[str, ...]:
    """Return the classes in the order in which models number them: wnids alphabetically, other names as given."""
    given = tuple(names)
    return tuple(sorted(given)) if all(WNID.fullmatch(name) for name in given) else given


def training_classes(
    found: Found, listed: ClassList | None, first: Literal[0, 1] | None, num_classes: int | None
) -> LabelledImages:
    """Return the training images with the classes that the model will have.

    Raises UserError when a class has no image, a label is out of range, or the task wants another number of classes.
    """
    numbered = _numbers_mean(found, listed, first)
    names = numbered.names or _counted(numbered, num_classes)
    images = in_classes(found, standard_order(names), listed, first)
    if num_classes is not None and len(names) != num_classes:
        remedy = f"check data.root, or use the task `{found.noun}folder` for data of your own"
        value = f"{len(names)} in {found.labelled_by}"
        raise UserError.about("classes", value, f"{num_classes}, as the task says", remedy)
    require_every_class(images, found.labelled_by, found.noun)
    return images


def _counted(numbered: _Numbered, num_classes: int | None) -> tuple[str, ...]:
    """Return numbers as names of classes: as many as the task says, or else as the largest label shows.

    Raises UserError for a label that is larger than the number of labels allows.
    """
    found = numbered.found
    count = num_classes if num_classes is not None else max(found.labels) - numbered.start + 1
    if count > max(len(found.labels), num_classes or 0):
        at = max(range(len(found.labels)), key=found.labels.__getitem__)
        value = f"{found.labels[at]} of {found.source.where(at)}, according to {found.labelled_by}"
        rule = f"a class number; {len(found.labels)} {found.noun}s cannot show {count} classes"
        raise UserError.about("label", value, rule, "correct the label, or number the classes without gaps")
    return tuple(str(number) for number in range(count))


def require_every_class(images: LabelledImages, labelled_by: str, noun: str = "image") -> None:
    """Raise UserError when a class has no image; `labelled_by` says where the labels come from."""
    empty = sorted(set(range(len(images.classes))) - set(images.labels))
    if empty:
        shown = first_of([images.classes[label] for label in empty], SHOWN)
        remedy = "complete the labels, remove the classes, or state first_label and classes"
        value = f"no {noun} of {shown} in {labelled_by}"
        raise UserError.about("classes", value, f"one {noun} or more of each class", remedy)


def in_classes(
    found: Found, classes: tuple[str, ...], listed: ClassList | None, first: Literal[0, 1] | None
) -> LabelledImages:
    """Return the images with labels as positions in the model's `classes`. Raises UserError for any other label."""
    numbered = _numbers_mean(found, listed, first)
    if numbered.names is None:
        _refuse_two_orders(found, classes)
        return LabelledImages(classes, found.source, _in_range(numbered, len(classes)))
    labels = _in_range(numbered, len(numbered.names))
    position_of = _positions(numbered.names, classes, found)
    return LabelledImages(classes, found.source, [position_of[label] for label in labels])


@dataclass(frozen=True)
class _Numbered:
    """Labels that count from `start`, and the names they stand for; None where nothing states these."""

    found: Found
    start: int
    names: tuple[str, ...] | None


def _numbers_mean(found: Found, listed: ClassList | None, first: Literal[0, 1] | None) -> _Numbered:
    """Return what a place's labels mean; for bare numbers only the recipe's list of classes can state it."""
    if found.names is not None:
        return _Numbered(found, 0, found.names)
    ids = first != 0 and (
        found.numbers == "ilsvrc" or (found.numbers == "listed" and listed is not None and listed.ids)
    )
    if ids and (listed is None or listed.names == tuple(sorted(listed.names))):
        rule = "classes in the order of ILSVRC2012_ID, which is not that of the sorted wnids"
        remedy = (
            "data.classes=ILSVRC2012_devkit_t12/data/meta.mat; or data.first_label=0 if the list already counts the "
            "sorted wnids from 0"
        )
        raise UserError.about("data.classes", str(listed.file) if listed else "(not given)", rule, remedy)
    if ids and listed is not None:
        return _Numbered(found, 1, listed.names)
    names = None if listed is None else standard_order(listed.names) if listed.ids else listed.names
    return _Numbered(found, first or 0, names)


def _in_range(numbered: _Numbered, count: int) -> Sequence[int]:
    found, start = numbered.found, numbered.start
    labels = found.labels if start == 0 else [label - start for label in found.labels]
    if labels and not (min(labels) >= 0 and max(labels) < count):
        at = next(position for position, label in enumerate(labels) if not 0 <= label < count)
        value = f"{found.labels[at]} of {found.source.where(at)}, according to {found.labelled_by}"
        remedy = f"correct the label, or data.first_label={1 - start} if labels count from {1 - start}"
        raise UserError.about("label", value, f"from {start} to {start + count - 1}", remedy)
    return labels


def _positions(names: tuple[str, ...], classes: tuple[str, ...], found: Found) -> list[int]:
    """Return, for each of `names`, its position in `classes`.

    Where names are unknown and all of them numbers (the folders 0 to 999 of ImageNet-V2), they count the classes.
    """
    known = {name: position for position, name in enumerate(classes)}
    unknown = [name for name in names if name not in known]
    if not unknown:
        return [known[name] for name in names]
    if all(name.isdecimal() and int(name) < len(classes) for name in names):
        return [int(name) for name in names]
    shown = ", ".join(unknown[:SHOWN])
    remedy = "remove what is no class; or, where one side has numbers, data.classes=FILE says what they mean"
    rule = f"classes of the training {found.noun}s"
    raise UserError.about("classes", f"{shown} in {found.labelled_by}", rule, remedy)


def _refuse_two_orders(found: Found, classes: tuple[str, ...]) -> None:
    """Refuse bare numbers where class names are other numbers: `2` could be the class called 2 or the third one."""
    if all(name.isdecimal() for name in classes) and any(int(name) != at for at, name in enumerate(classes)):
        rule = f"names, because the training classes are called {', '.join(classes[:4])}, ... in this order"
        remedy = "data.classes=FILE with one class name per line, in the order that the numbers mean"
        raise UserError.about("labels", f"bare numbers in {found.labelled_by}", rule, remedy)
