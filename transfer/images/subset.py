"""The labelled images of a subset, class by class."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from benchmarks.errors import UserError
from benchmarks.subset import Subset, listed
from transfer.images.labelled import LabelledImages


def choose(images: LabelledImages, subset: Subset, file: Path | None) -> LabelledImages:
    """Return the images of the subset, in the order of `images`; `file` is its list, if it has one.

    Raises UserError where a class has too few images, or the list names an image that is not there.
    """
    return images.select(_chosen(images, subset, file, "data.subset"))


def hold_out(
    images: LabelledImages, part: Subset, file: Path | None, field: str
) -> tuple[LabelledImages, LabelledImages]:
    """Return the images without those of `part`, and those of `part`: no image is in both.

    Raises UserError as `choose` does, and where a class has no image left to train on; `field` is named there.
    """
    chosen = _chosen(images, part, file, field)
    out = set(chosen)
    rest = images.select([position for position in range(len(images)) if position not in out])
    held = images.select(chosen)
    for name, part_of in (("left to train on", rest), ("held out", held)):
        if missing := set(range(len(images.classes))) - set(part_of.labels):
            classes = ", ".join(images.classes[label] for label in sorted(missing)[:5])
            rule = f"at least one image of every class {name} (none of {classes})"
            raise UserError.about(field, f"{len(chosen)} of {len(images)} images", rule, "another number or list")
    return rest, held


def _chosen(images: LabelledImages, subset: Subset, file: Path | None, where: str) -> list[int]:
    if file is not None:
        return list(listed(map(images.source.name, range(len(images.labels))), file, where))
    by_class: dict[int, list[int]] = defaultdict(list)
    for position, label in enumerate(images.labels):
        by_class[label].append(position)
    chosen: list[int] = []
    for label, positions in sorted(by_class.items()):
        if not 1 <= subset.count(len(positions)) <= len(positions):
            raise subset.too_many_or_none(positions, f"class {images.classes[label]}", where)
        chosen += subset.draw(positions, images.source.name)
    return sorted(chosen)
