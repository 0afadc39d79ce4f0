"""The plan of UPerNet with an auxiliary FCN head, in mmsegmentation's terms."""

from __future__ import annotations

from typing import Any

from transfer.segmentation.plans.pipelines import tested, with_pipelines
from transfer.segmentation.plans.plan import Plan, ignored_label
from transfer.segmentation.recipe import SegmentationRecipe

FCN_LEVEL = 2
"""The index of the map of stride 16."""


def upernet(recipe: SegmentationRecipe, channels: tuple[int, ...], num_classes: int) -> Plan:
    """Return the plan of UPerNet with an auxiliary FCN head, as mmsegmentation trains it on ADE20K.

    `channels` are those of the encoder's four maps.
    """
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
        "test_cfg": tested(recipe),
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
    return with_pipelines(recipe, model, num_classes)


def _head(num_classes: int, weight: float) -> dict[str, Any]:
    return {
        "num_classes": num_classes,
        "dropout_ratio": 0.1,
        "norm_cfg": {"type": "SyncBN", "requires_grad": True},
        "align_corners": False,
        "ignore_index": ignored_label(num_classes),
        "loss_decode": {"type": "CrossEntropyLoss", "use_sigmoid": False, "loss_weight": weight},
    }
