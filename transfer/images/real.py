"""Test sets with several accepted labels per image, as ImageNet-ReaL (Beyer et al. 2020, arXiv:2006.07159)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.errors import UserError
from benchmarks.files.json_files import parse_json
from benchmarks.files.named_files import text_of
from transfer.images.labelled import LabelledImages, TestSet
from transfer.images.lists import image_number


def with_accepted(name: str, images: LabelledImages, file: Path) -> TestSet:
    """Return those of the images that have an accepted label, with all of their accepted labels.

    Entry k of the file belongs to the image that ILSVRC numbers k; its labels are classes counted from 0, as models do.
    Raises UserError when images are not numbered, or the file is no list of such labels.
    """
    accepted = _read(file, len(images.classes))
    kept: list[int] = []
    labels: list[frozenset[int]] = []
    for position in range(len(images.labels)):
        number = image_number(images.source.name(position))
        if number is None or not 1 <= number <= len(accepted):
            rule = f"named ILSVRC2012_val_00000001 to {len(accepted):08d}, because {file.name} goes by this number"
            remedy = "use a copy of the validation images with their own names, in folders or side by side"
            raise UserError.about("test image", images.source.where(position), rule, remedy)
        if found := accepted[number - 1]:
            kept.append(position)
            labels.append(found)
    return TestSet(name, images.select(kept), tuple(labels))


def _read(file: Path, num_classes: int) -> list[frozenset[int]]:
    text = text_of(file, "accepted")
    try:
        content: Any = parse_json(text)
    except ValueError:
        content = None
    if not isinstance(content, list) or not all(isinstance(labels, list) for labels in content):
        rule = "a JSON list of lists of labels, as real.json"
        raise UserError.about("accepted", f"{file}: {text[:40]!r} ...", rule, "check the path")
    for number, labels in enumerate(content, start=1):
        for label in labels:
            if not isinstance(label, int) or not 0 <= label < num_classes:
                rule = f"from 0 to {num_classes - 1}"
                value = f"{str(label)[:40]} of image {number} in {file}"
                raise UserError.about("accepted", value, rule, "check the file")
    return [frozenset(labels) for labels in content]
