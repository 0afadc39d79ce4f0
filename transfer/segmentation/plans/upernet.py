"""The plan of UPerNet with an auxiliary FCN head and its pipelines, in mmsegmentation's terms."""

from __future__ import annotations

import itertools
from typing import Any

from transfer.segmentation.plans.plan import PACK, Pipeline, Plan, ignored_label
from transfer.segmentation.recipe import SegmentationRecipe

FCN_LEVEL = 2
"""The index of the map of stride 16."""


def upernet(recipe: SegmentationRecipe, channels: tuple[int, ...], num_classes: int) -> Plan:
    """Return the plan of UPerNet with an auxiliary FCN head, as mmsegmentation trains it on ADE20K.

    `channels` are those of the encoder's four maps.
    """
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
    ignored = ignored_label(num_classes)
    preprocessor = {"size": size, "seg_pad_val": ignored}
    return Plan(model, _train(recipe, ignored), [_resize(recipe, 1.0), PACK], _multi_scale(recipe), preprocessor)


def _head(num_classes: int, weight: float) -> dict[str, Any]:
    return {
        "num_classes": num_classes,
        "dropout_ratio": 0.1,
        "norm_cfg": {"type": "SyncBN", "requires_grad": True},
        "align_corners": False,
        "ignore_index": ignored_label(num_classes),
        "loss_decode": {"type": "CrossEntropyLoss", "use_sigmoid": False, "loss_weight": weight},
    }


def _train(recipe: SegmentationRecipe, ignored: int) -> Pipeline:
    augmentation, side = recipe.augmentation, recipe.image_size_px
    crop = {"crop_size": (side, side), "cat_max_ratio": augmentation.max_class_share, "ignore_index": ignored}
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
