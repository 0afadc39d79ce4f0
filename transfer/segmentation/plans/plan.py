"""What mmsegmentation is asked to build, in its own terms: heads, losses, test_cfg, pipelines.

Images and masks are read by `transfer.segmentation.samples`; pipelines hold only the steps after that. This module is
light to import.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from benchmarks.errors import UserError

Pipeline = list[dict[str, Any]]
PACK = {"type": "PackSegInputs"}
IGNORED = 255
MORE_CLASSES_IGNORED = 65535


def ignored_label(num_classes: int) -> int:
    """Return the label that takes no part in losses and scores, which pixels outside every class get."""
    return IGNORED if num_classes <= IGNORED else MORE_CLASSES_IGNORED


@dataclass(frozen=True)
class Plan:
    """mmseg's dicts for one training."""

    model: dict[str, Any]
    """The dict of an EncoderDecoder, without its backbone."""
    train_pipeline: Pipeline
    test_pipeline: Pipeline
    multi_scale: list[Pipeline] = field(default_factory=list)
    """Pipelines whose predictions are averaged in a test after the last step; empty for no such test."""
    preprocessor: dict[str, Any] = field(default_factory=dict)
    """Arguments of SegDataPreProcessor besides those that follow from the encoder's normalisation."""
    notes: tuple[str, ...] = ()
    """Sentences for the user about what of a config is not used."""


def adapted_head(head: dict[str, Any], channels: tuple[int, ...], num_classes: int, where: str) -> dict[str, Any]:
    """Return a head of a user's config with the `in_channels` of our maps. Raises UserError where it cannot fit."""
    remedy = f"correct {where} in the config"
    if head.get("num_classes", num_classes) != num_classes:
        raise UserError.about(f"{where}.num_classes", head["num_classes"], f"{num_classes}, as the task says", remedy)
    ignored = ignored_label(num_classes)
    if head.get("ignore_index", IGNORED) != ignored:
        raise UserError.about(f"{where}.ignore_index", head.get("ignore_index"), f"{ignored}", remedy)
    if "in_channels" not in head:
        return head
    index = head.get("in_index", -1)
    levels = index if isinstance(index, list | tuple) else [index]
    for level in levels:
        if not -len(channels) <= level < len(channels):
            rule = f"levels 0 to {len(channels) - 1}, of strides 4 to 32"
            raise UserError.about(f"{where}.in_index", index, rule, remedy)
    found = [channels[level] for level in levels]
    return {**head, "in_channels": found if isinstance(index, list | tuple) else found[0]}
