"""Choosing a fixed part of the training images, the same on every machine and in every run."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from fractions import Fraction
from pathlib import Path, PurePosixPath

from benchmarks.errors import UserError
from transfer.images.labelled import LabelledImages
from transfer.images.named_files import text_of
from transfer.images.recipe import Subset


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
    for name, held in (("left to train on", rest), ("held out", images.select(chosen))):
        if missing := set(range(len(images.classes))) - set(held.labels):
            classes = ", ".join(images.classes[label] for label in sorted(missing)[:5])
            rule = f"at least one image of every class {name} (none of {classes})"
            raise UserError.about(field, f"{len(chosen)} of {len(images)} images", rule, "another number or list")
    return rest, images.select(chosen)


def _chosen(images: LabelledImages, subset: Subset, file: Path | None, where: str) -> list[int]:
    if file is not None:
        return _listed(images, file, where)
    chosen: list[int] = []
    for label, positions in sorted(_by_class(images).items()):
        count = _count(subset, len(positions))
        if not 1 <= count <= len(positions):
            name, field = images.classes[label], "fraction" if subset.per_class is None else "per_class"
            value = subset.fraction if subset.per_class is None else subset.per_class
            rule = f"at least one image and at most all {len(positions)} of class {name} (it asks for {count})"
            raise UserError.about(f"{where}.{field}", value, rule, "another number, or more images of the class")
        chosen += sorted(positions, key=lambda at: _draw(subset.seed, images.source.name(at)))[:count]
    return sorted(chosen)


def _by_class(images: LabelledImages) -> dict[int, list[int]]:
    positions: dict[int, list[int]] = defaultdict(list)
    for position, label in enumerate(images.labels):
        positions[label].append(position)
    return positions


def _count(subset: Subset, images: int) -> int:
    if subset.per_class is not None:
        return subset.per_class
    # The decimal as it is written counts, not its binary neighbour: 0.15 of 10 is 1.5, which rounds up.
    return int(Fraction(str(subset.fraction)) * images + Fraction(1, 2))


def _draw(seed: int, name: str) -> str:
    """Return a text that orders the images of a class at random, by the seed; the first ones are drawn."""
    return hashlib.sha256(f"{seed}/{name}".encode(errors="surrogateescape")).hexdigest()


def _listed(images: LabelledImages, file: Path, where: str) -> list[int]:
    """Return the positions of the listed images, named in full or by their last parts.

    Raises UserError for a name that fits no image or several, for one that is listed twice, and for an empty list.
    """
    by_last_part: dict[str, list[int]] = defaultdict(list)
    for position in range(len(images.labels)):
        by_last_part[PurePosixPath(images.source.name(position)).name].append(position)
    chosen: list[int] = []
    for line, text in enumerate(text_of(file, f"{where}.list").splitlines(), start=1):
        name = text.strip()
        same = by_last_part.get(PurePosixPath(name).name, [])
        found = [at for at in same if f"/{images.source.name(at)}".endswith(f"/{name}")]
        if name and len(found) != 1:
            how_many = f"this one fits {len(found)}" if found else "this one fits none"
            rule = f"the name, or its end, of one training image, as {images.source.name(0)} ({how_many})"
            raise UserError.about(
                f"{where}.list", f"{file}:{line}: {name}", rule, "mend the list, or complete the images"
            )
        chosen += found if name else []
    twice = [images.source.name(position) for position, count in Counter(chosen).items() if count > 1]
    if twice or not chosen:
        value = f"{file}: {', '.join(twice[:5])} twice" if twice else f"{file}, empty"
        raise UserError.about(f"{where}.list", value, "each image once, and at least one", "mend the list")
    return sorted(chosen)
