"""What mmsegmentation is asked to build, in its own terms: heads, losses, test_cfg, pipelines. Light to import.

Images and masks are read by `transfer.segmentation.samples`; pipelines hold only what comes after.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

from benchmarks.errors import UserError
from transfer.segmentation.recipe import SegmentationRecipe

Pipeline = list[dict[str, Any]]
IGNORED = 255
"""The label that takes no part in losses and scores; a mask's 0 becomes this."""
PACK = {"type": "PackSegInputs"}
FCN_LEVEL = 2
"""The map of stride 16."""


@dataclass(frozen=True)
class Plan:
    """mmseg's dicts for one training."""

    model: dict[str, Any]
    """EncoderDecoder's, without its backbone."""
    train_pipeline: Pipeline
    test_pipeline: Pipeline
    multi_scale: list[Pipeline] = field(default_factory=list)
    """Pipelines whose predictions are averaged after the last step; empty: no such test."""
    preprocessor: dict[str, Any] = field(default_factory=dict)
    """What SegDataPreProcessor is told besides the encoder's mean and std."""
    notes: tuple[str, ...] = ()


def plan_of(recipe: SegmentationRecipe, channels: tuple[int, ...], num_classes: int) -> Plan:
    """Return the plan of a recipe for maps with so many `channels`. Raises UserError for an unfit config file."""
    if recipe.mmseg_config is None:
        return upernet(recipe, channels, num_classes)
    from transfer.segmentation.user_config import plan_of_config

    return plan_of_config(recipe, channels, num_classes)


def upernet(recipe: SegmentationRecipe, channels: tuple[int, ...], num_classes: int) -> Plan:
    """Return UPerNet with an auxiliary FCN head, as mmsegmentation trains it on ADE20K."""
    size = (recipe.image_size_px, recipe.image_size_px)
    model: dict[str, Any] = {
        "type": "EncoderDecoder",
        "decode_head": {
            "type": "UPerHead",
            "in_channels": list(channels),
            "in_index": list(range(len(channels))),
            "pool_scales": (1, 2, 3, 6),
            "channels": recipe.head_channels,
            **_head(num_classes, 1.0),
        },
        "test_cfg": {"mode": "whole"},
    }
    if recipe.auxiliary_weight:
        model["auxiliary_head"] = {
            "type": "FCNHead",
            "in_channels": channels[FCN_LEVEL],
            "in_index": FCN_LEVEL,
            "channels": recipe.auxiliary_channels,
            "num_convs": 1,
            "concat_input": False,
            **_head(num_classes, recipe.auxiliary_weight),
        }
    if recipe.testing.mode == "slide":
        stride = recipe.testing.stride_px
        model["test_cfg"] = {"mode": "slide", "crop_size": size, "stride": (stride, stride)}
    return Plan(model, _train(recipe), [_resize(recipe, 1.0), PACK], _multi_scale(recipe), {"size": size})


def _head(num_classes: int, weight: float) -> dict[str, Any]:
    return {
        "num_classes": num_classes,
        "dropout_ratio": 0.1,
        "norm_cfg": {"type": "SyncBN", "requires_grad": True},
        "align_corners": False,
        "ignore_index": IGNORED,
        "loss_decode": {"type": "CrossEntropyLoss", "use_sigmoid": False, "loss_weight": weight},
    }


def _train(recipe: SegmentationRecipe) -> Pipeline:
    augmentation, side = recipe.augmentation, recipe.image_size_px
    crop = {"crop_size": (side, side), "cat_max_ratio": augmentation.max_class_share, "ignore_index": IGNORED}
    resize = {"scale": recipe.resize_to_px, "ratio_range": augmentation.resize_ratio, "keep_ratio": True}
    distortion = [{"type": "PhotoMetricDistortion"}] if augmentation.photometric_distortion else []
    return [
        {"type": "RandomResize", **resize},
        {"type": "RandomCrop", **crop},
        {"type": "RandomFlip", "prob": augmentation.horizontal_flip},
        *distortion,
        PACK,
    ]


def _resize(recipe: SegmentationRecipe, factor: float) -> dict[str, Any]:
    longer, shorter = recipe.resize_to_px
    return {"type": "Resize", "scale": (int(longer * factor), int(shorter * factor)), "keep_ratio": True}


def _multi_scale(recipe: SegmentationRecipe) -> list[Pipeline]:
    """Return one pipeline per scale and direction. Source: Swin-Transformer-Semantic-Segmentation's `--aug-test`."""
    mirrors: list[Pipeline] = [[], [{"type": "RandomFlip", "prob": 1.0, "direction": "horizontal"}]]
    scales = recipe.testing.multi_scale
    return [[_resize(recipe, factor), *mirror, PACK] for factor, mirror in itertools.product(scales, mirrors)]


def adapted_head(head: dict[str, Any], channels: tuple[int, ...], num_classes: int, where: str) -> dict[str, Any]:
    """Return a head of a user's config with the `in_channels` of our maps. Raises UserError where it cannot fit."""
    remedy = f"mend {where} in the config"
    if head.get("num_classes", num_classes) != num_classes:
        raise UserError.about(f"{where}.num_classes", head["num_classes"], f"{num_classes}, as the task says", remedy)
    if head.get("ignore_index", IGNORED) != IGNORED:
        raise UserError.about(f"{where}.ignore_index", head["ignore_index"], f"{IGNORED}", remedy)
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
