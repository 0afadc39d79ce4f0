"""Test sets of ImageNet that go by name, and the classes among which their scores are published."""

from __future__ import annotations

from benchmarks.errors import UserError
from transfer.images.labelled import LabelledImages
from transfer.sources.head_classes import synsets

NAMED = ("imagenet_a", "imagenet_r")
"""Sets of which timm has a list of synsets, under the same name."""
SHOWN = 5


def require_published_classes(name: str, images: LabelledImages) -> None:
    """Raise UserError where a test set of that name has not the classes among which its scores are published.

    Among fewer classes a prediction is easier. With other classes than ImageNet's 1,000 a set may bear any name.
    """
    if name not in NAMED or images.classes != synsets("imagenet1k"):
        return
    found, expected = {images.classes[label] for label in set(images.labels)}, set(synsets(name))
    if found == expected:
        return
    few, more = sorted(expected - found), sorted(found - expected)
    shown = [f"no {', '.join(few[:SHOWN])}" if few else "", f"also {', '.join(more[:SHOWN])}" if more else ""]
    value = f"{len(found)} classes ({'; '.join(filter(None, shown))})"
    rule = f"the {len(expected)} classes that are published as {name}"
    raise UserError.about(f"data.test_sets.{name}", value, rule, "complete it, or give a part of it another name")
