"""A fixed part of a data set's images, the same on every machine and in every run. Light to import."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import Annotated, NamedTuple

from pydantic import Field, model_validator

from benchmarks.config import Config, placement
from benchmarks.errors import UserError
from benchmarks.files.named_files import find_file, sha256_of, text_of
from benchmarks.training.numbers import Count

FIELD = "data.subset"


class OfficialList(NamedTuple):
    """A list that papers share, as its authors publish it."""

    file: str
    sha256: str
    address: str


_SIMCLR = "https://github.com/google-research/simclr/tree/master/imagenet_subsets"
OFFICIAL = {
    "simclr_1percent": OfficialList(
        "1percent.txt", "71e82a48ba78252683ae334c4d019ebd5c6e855b9599c1389fbe83eb9549cf17", _SIMCLR
    ),
    "simclr_10percent": OfficialList(
        "10percent.txt", "6d09de11e7bdaf5b1f3b1f249b6183695f97310cdd20f0c03e7235b6b9392091", _SIMCLR
    ),
}
"""Of ImageNet-1K, by name: 12,811 and 128,116 images (Chen et al. 2020, arXiv 2002.05709)."""


def find_list(root: Path, given: str | None, where: str = FIELD) -> Path | None:
    """Return the file of a list that is given by name or by path, below the data's root or elsewhere; None for None.

    Raises UserError where there is no such file, or where it is another than the one that goes by the name.
    """
    if given not in OFFICIAL:
        return find_file(root, f"{where}.list", given)
    official = OFFICIAL[given]
    found = next((path for path in (root / official.file, Path(official.file)) if path.is_file()), None)
    if found is None or sha256_of(found) != official.sha256:
        value = f"{given} ({'not there' if found is None else found})"
        rule = f"{official.file} below {root}, with the sha256 {official.sha256[:12]}..."
        raise UserError.about(f"{where}.list", value, rule, f"download it from {official.address}")
    return found


class Subset(Config):
    """A fixed part of the training images. Give one of `fraction`, `per_class` and `list`."""

    fraction: Annotated[float, Field(gt=0, lt=1)] | None = None
    """The share of each class's images, rounded half up to whole images."""
    per_class: Count | None = None
    """The number of images of each class."""
    list: str | None = placement(None)
    """A file with one image name per line, or simclr_1percent or simclr_10percent: SimCLR's, below the data's root. The
    record has its sha256, the data's fingerprint the chosen images."""
    seed: Annotated[int, Field(ge=0)] = 0
    """The seed that draws the images; the run's own seed has no influence on them."""

    @model_validator(mode="after")
    def _one_rule(self) -> Subset:
        if sum(value is not None for value in (self.fraction, self.per_class, self.list)) != 1:
            raise ValueError("one of subset.fraction, subset.per_class and subset.list")
        return self

    def count(self, images: int) -> int:
        """Return how many of a class's `images` are drawn, which may be none, or more than there are."""
        if self.per_class is not None:
            return self.per_class
        # The decimal as it is written counts, not its binary neighbour: 0.15 of 10 is 1.5, which rounds up.
        return int(Fraction(str(self.fraction)) * images + Fraction(1, 2))

    def draw(self, positions: Sequence[int], name: Callable[[int], str]) -> Sequence[int]:
        """Return those of a class's `positions` that are drawn, by the seed and the images' names alone."""
        return sorted(positions, key=lambda at: _order(self.seed, name(at)))[: self.count(len(positions))]

    def too_many_or_none(self, positions: Sequence[int], of: str, where: str = FIELD) -> UserError:
        """Return what is raised where a class named `of` has fewer images than `where` asks for, or none."""
        field = "fraction" if self.per_class is None else "per_class"
        value = self.fraction if self.per_class is None else self.per_class
        count = len(positions)
        rule = f"at least one image and at most all {count} of {of} (it asks for {self.count(count)})"
        return UserError.about(f"{where}.{field}", value, rule, "another number, or more images of the class")


def _order(seed: int, name: str) -> str:
    """Return a text that orders the images of a class at random, by the seed; the first ones are drawn."""
    return hashlib.sha256(f"{seed}/{name}".encode(errors="surrogateescape")).hexdigest()


def listed(names: Iterable[str], file: Path, where: str = FIELD) -> Sequence[int]:
    """Return the positions among `names` of the images listed in `file`, by their full names or their last parts.

    A suffix may be in other letters where no name has these: shards have small ones.
    Raises UserError for a name that fits no image or several, for one that is listed twice, and for an empty list.
    """
    names = list(names)
    by_last_part: dict[str, list[int]] = defaultdict(list)
    for position, name in enumerate(names):
        by_last_part[PurePosixPath(_small_suffix(name)).name].append(position)
    chosen: list[int] = []
    for line, text in enumerate(text_of(file, f"{where}.list").splitlines(), start=1):
        wanted = text.strip()
        alike = _small_suffix(f"/{wanted}")
        same = by_last_part.get(PurePosixPath(alike).name, [])
        found = [at for at in same if f"/{names[at]}".endswith(f"/{wanted}")]
        found = found or [at for at in same if _small_suffix(f"/{names[at]}").endswith(alike)]
        if wanted and len(found) != 1:
            how_many = f"this one fits {len(found)}" if found else "this one fits none"
            rule = f"the name, or its end, of one training image, as {names[0]} ({how_many})"
            raise UserError.about(
                f"{where}.list", f"{file}:{line}: {wanted}", rule, "correct the list, or complete the images"
            )
        chosen += found if wanted else []
    twice = [names[position] for position, count in Counter(chosen).items() if count > 1]
    if twice or not chosen:
        value = f"{file}: {', '.join(twice[:5])} twice" if twice else f"{file}, empty"
        raise UserError.about(f"{where}.list", value, "each image once, and at least one", "correct the list")
    return sorted(chosen)


def _small_suffix(name: str) -> str:
    """Return a name with its suffix in small letters."""
    stem, dot, suffix = name.rpartition(".")
    return f"{stem}{dot}{suffix.lower()}"
