"""What the logits of a classifier's head stand for. This module is light to import.

The lists of ImageNet's synsets are timm's (`timm/data/_info`), one for each number of classes that heads have.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from benchmarks.errors import UserError, did_you_mean
from benchmarks.files.named_files import text_of

WNID = re.compile(r"n\d{8}")
SHOWN = 5
SUBSETS = {
    "imagenet1k": 1000,
    "imagenet12k": 11821,
    "imagenet21k_miil": 11221,
    "imagenet22k": 21841,
    "imagenet22k_ms": 21842,
    "imagenet21k_goog": 21843,
}
"""timm's lists of synsets by name, with their lengths: of the fall 2011 release (22k) and of parts or orders of it."""
LARGEST_LIST_BYTES = 2**24


@dataclass(frozen=True)
class HeadClasses:
    """What a head's logits stand for, where something says so."""

    names: tuple[str, ...] | None = None
    """By the logit's position."""
    positions: tuple[int, ...] | None = None
    """The logit of each of the test set's classes, in the order of the classes: an index map that others published."""
    stated_by: str = ""


def known_classes(count: int) -> HeadClasses:
    """Return timm's list of synsets for a head of so many classes; for other numbers nothing is known."""
    name = next((name for name, length in SUBSETS.items() if length == count), None)
    return HeadClasses() if name is None else HeadClasses(synsets(name), stated_by=f"timm's list {name}")


def synsets(name: str) -> tuple[str, ...]:
    """Return one of timm's lists of ImageNet's synsets: of `SUBSETS`, or imagenet_a, imagenet_r."""
    package = find_spec("timm")
    assert package is not None, "timm is installed with this program"
    assert package.origin is not None, "as every package of files"
    file = "imagenet" if name == "imagenet1k" else name
    path = Path(package.origin).parent / "data" / "_info" / f"{file}_synsets.txt"
    return tuple(path.read_text(encoding="utf-8").split())


def stated_classes(stated: str, count: int) -> HeadClasses:
    """Return the head's classes as a person states them: a name of `SUBSETS`, or a file.

    A file has one line for each logit, a name (a wnid may be followed by words); or only numbers, for each class of the
    test set its logit, as microsoft's map22kto1k.txt. Raises UserError for anything else.
    """
    if stated in SUBSETS:
        names = synsets(stated)
        if len(names) != count:
            rule = f"a list of as many classes as the head has ({count}); {stated} has {len(names)}"
            raise UserError.about("--head-classes", stated, rule, "name the list that the model was trained on")
        return HeadClasses(names, stated_by=f"timm's list {stated}")
    path = Path(stated)
    if not path.is_file():
        rule = f"one of {', '.join(SUBSETS)}, or a file"
        raise UserError.about("--head-classes", stated, rule, did_you_mean(stated, SUBSETS))
    if path.stat().st_size > LARGEST_LIST_BYTES:
        raise UserError.about("--head-classes", stated, "a list of classes", "check the path")
    lines = [line.strip() for line in text_of(path, "--head-classes").splitlines() if line.strip()]
    if lines and all(line.isdecimal() and len(line) < SHOWN + 3 for line in lines):
        return HeadClasses(positions=_within(tuple(map(int, lines)), count, stated), stated_by=stated)
    names = tuple(line.split()[0] if WNID.match(line) else line for line in lines)
    if len(names) != count or len(set(names)) != count:
        value = f"{stated}: {len(names)} lines, {len(set(names))} of them different"
        rule = f"one line, each another, for every class of the head ({count})"
        raise UserError.about("--head-classes", value, rule, "give the list that the model was trained with")
    return HeadClasses(names, stated_by=stated)


def _within(positions: tuple[int, ...], count: int, stated: str) -> tuple[int, ...]:
    if (largest := max(positions)) >= count:
        rule = f"positions of the head's logits, 0 to {count - 1}"
        raise UserError.about("--head-classes", f"{largest} in {stated}", rule, "give the map of this model's classes")
    return positions
