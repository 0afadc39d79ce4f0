"""The labelled images of a subset, class by class."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from benchmarks.subset import Subset, listed
from transfer.images.labelled import LabelledImages


def choose(images: LabelledImages, subset: Subset, file: Path | None) -> LabelledImages:
    """Return the images of the subset, in the order of `images`; `file` is its list, if it has one.

    Raises UserError where a class has too few images, or the list names an image that is not there.
    """
    if file is not None:
        return images.select(list(listed(map(images.source.name, range(len(images.labels))), file)))
    by_class: dict[int, list[int]] = defaultdict(list)
    for position, label in enumerate(images.labels):
        by_class[label].append(position)
    chosen: list[int] = []
    for label, positions in sorted(by_class.items()):
        if not 1 <= subset.count(len(positions)) <= len(positions):
            raise subset.too_many_or_none(positions, f"class {images.classes[label]}")
        chosen += subset.draw(positions, images.source.name)
    return images.select(sorted(chosen))
