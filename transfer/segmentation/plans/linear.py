"""The plan of a linear layer on a frozen encoder's maps, in mmsegmentation's terms."""

from __future__ import annotations

from typing import Any

from transfer.segmentation.plans.pipelines import tested, with_pipelines
from transfer.segmentation.plans.plan import Plan, ignored_label
from transfer.segmentation.recipe import LinearSegmentationRecipe


def linear(recipe: LinearSegmentationRecipe, channels: tuple[int, ...], num_classes: int) -> Plan:
    """Return the plan of DINOv2's linear segmentation: batch normalisation and a 1x1 convolution of all maps.

    Source: facebookresearch/dinov2 `eval/segmentation/models/decode_heads/linear_head.py` (BNHead).
    """
    from transfer.segmentation.frozen.linear_head import LinearHead  # mmseg, only now that there is work

    head: dict[str, Any] = {
        "type": LinearHead,
        "in_channels": list(channels),
        "in_index": list(range(len(channels))),
        "channels": sum(channels),
        "num_classes": num_classes,
        "ignore_index": ignored_label(num_classes),
    }
    model = {"type": "EncoderDecoder", "decode_head": head, "test_cfg": tested(recipe)}
    return with_pipelines(recipe, model, num_classes)
