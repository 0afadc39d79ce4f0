"""How images are trained on and tested where the recipe says it, not a user's config; in mmsegmentation's terms."""

from __future__ import annotations

import itertools
from typing import Any

from transfer.segmentation.plans.plan import PACK, Pipeline, Plan, ignored_label
from transfer.segmentation.recipe import TrainedSegmentationRecipe


def with_pipelines(recipe: TrainedSegmentationRecipe, model: dict[str, Any], num_classes: int) -> Plan:
    """Return the plan of a model with the recipe's pipelines."""
    ignored = ignored_label(num_classes)
    preprocessor = {"size": (recipe.image_size_px, recipe.image_size_px), "seg_pad_val": ignored}
    return Plan(model, _train(recipe, ignored), [_resize(recipe, 1.0), PACK], _multi_scale(recipe), preprocessor)


def tested(recipe: TrainedSegmentationRecipe) -> dict[str, Any]:
    """Return the `test_cfg` of a model: the whole image at once, or windows of the training crop's size."""
    if recipe.testing.mode == "whole":
        return {"mode": "whole"}
    size, stride = recipe.image_size_px, recipe.testing.stride_px
    return {"mode": "slide", "crop_size": (size, size), "stride": (stride, stride)}


def _train(recipe: TrainedSegmentationRecipe, ignored: int) -> Pipeline:
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


def _resize(recipe: TrainedSegmentationRecipe, factor: float) -> dict[str, Any]:
    longer, shorter = recipe.resize_to_px
    return {"type": "Resize", "scale": (int(longer * factor), int(shorter * factor)), "keep_ratio": True}


def _multi_scale(recipe: TrainedSegmentationRecipe) -> list[Pipeline]:
    """Return one pipeline per scale and direction. Source: Swin-Transformer-Semantic-Segmentation's `--aug-test`."""
    mirrors: list[Pipeline] = [[], [{"type": "RandomFlip", "prob": 1.0, "direction": "horizontal"}]]
    scales = recipe.testing.multi_scale
    return [[_resize(recipe, factor), *mirror, PACK] for factor, mirror in itertools.product(scales, mirrors)]
