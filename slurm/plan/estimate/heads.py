"""What the heads of tasks cost by arithmetic, from their layers: the larger part of a detector and of UPerNet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from slurm.plan.estimate.encoders import EncoderCost, Volume

PYRAMID = sum(1 / stride**2 for stride in (4, 8, 16, 32, 64))
"""Places of a pyramid's maps for each pixel."""
POOLED = 7 * 7
"""Places of a box's map; a mask's are 14 x 14, doubled to 28 x 28."""
MASK = 14 * 14
CLASSES = {"coco": 80, "ade20k": 150, "kinetics400": 400, "imagenet1k": 1000}
SOME_CLASSES = 100
"""Of other data sets; the classifiers are the smallest part of all heads."""
TESTED_BOXES, TESTED_MASKS = 1000, 100
"""Boxes that are classified, and masks that are drawn, of a test image."""


class HeadCost(NamedTuple):
    """What a head costs for one image."""

    training_flops: float
    testing_flops: float
    parameters: float
    kept: float
    """Numbers that it keeps for its backward pass."""


NO_HEAD = HeadCost(0.0, 0.0, 0.0, 0.0)


def classifier(encoder: EncoderCost, kind: str) -> HeadCost:
    """Return the cost of one linear layer on pooled features."""
    weights = float(encoder.channels[-1] * CLASSES.get(kind, SOME_CLASSES))
    return HeadCost(2 * weights, 2 * weights, weights, weights / max(1, encoder.channels[-1]))


def upernet(recipe: Any, encoder: EncoderCost, volume: Volume, kind: str) -> HeadCost:
    """Return the cost of UPerNet (arXiv:1807.10221) and its auxiliary head, all convolutions of mmsegmentation's."""
    pixels, c, classes = volume.height_px * volume.width_px, recipe.head_channels, CLASSES.get(kind, SOME_CLASSES)
    places = [pixels / stride**2 for stride in (4, 8, 16, 32)]
    laterals = [channels * c for channels in encoder.channels[:3]]
    output, fusion, pooling = 9 * c * c, 9 * 4 * c * c, 9 * (encoder.channels[3] + 4 * c) * c
    macs = sum(place * (lateral + output) for place, lateral in zip(places, laterals, strict=False))
    macs += places[0] * (fusion + c * classes) + places[3] * pooling
    auxiliary = 9 * encoder.channels[2] * recipe.auxiliary_channels if recipe.auxiliary_weight else 0
    parameters = sum(laterals) + 3 * output + fusion + pooling + 4 * encoder.channels[3] * c + auxiliary + c * classes
    kept = 10 * c * places[0] + 4 * c * sum(places[1:])
    return HeadCost(2 * (macs + auxiliary * places[2]), 2 * macs, float(parameters), kept)


def detector(recipe: Any, encoder: EncoderCost, volume: Volume, kind: str) -> HeadCost:
    """Return the cost of Mask R-CNN, or its cascade: pyramid, proposals, boxes and masks."""
    places = PYRAMID * volume.height_px * volume.width_px
    c, fully = recipe.fpn_channels, recipe.box_head_channels
    laterals = [channels * c for channels in encoder.channels]
    pyramid = places * 9 * c * c + _by_stride(laterals, volume)
    proposals = places * (9 * c * c * recipe.rpn_convs + 15 * c)
    convolutions = 4 * 9 * c * c if recipe.box_head == "4conv1fc" else 0
    layers = POOLED * c * fully + (0 if convolutions else fully**2) + 5 * CLASSES.get(kind, SOME_CLASSES) * fully
    heads = 3 if recipe.heads == "cascade_mask_rcnn" else 1
    box = float(POOLED * convolutions + layers)
    mask = float(MASK * 4 * 9 * c * c + MASK * 4 * c * c + 4 * MASK * c * SOME_CLASSES) if recipe.masks else 0.0
    drawn = recipe.proposals.per_image
    shared = pyramid + proposals
    training = shared + heads * (drawn * box + drawn / 4 * mask)
    testing = shared + heads * (TESTED_BOXES * box + TESTED_MASKS * mask)
    parameters = sum(laterals) + 4 * 9 * c * c + recipe.rpn_convs * 9 * c * c + heads * (convolutions + layers)
    parameters += heads * 5 * 9 * c * c if recipe.masks else 0
    kept = 4 * c * places + heads * drawn * (POOLED * c * (9 if convolutions else 1) + 4 * fully)
    kept += heads * drawn / 4 * (5 * MASK + 8 * MASK) * c if recipe.masks else 0.0
    return HeadCost(2 * training, 2 * testing, float(parameters), kept)


def _by_stride(weights: Sequence[int], volume: Volume) -> float:
    pixels = volume.height_px * volume.width_px
    return sum(pixels / stride**2 * each for stride, each in zip((4, 8, 16, 32), weights, strict=False))


def predictor(recipe: Any, encoder: EncoderCost, volume: Volume) -> HeadCost:
    """Return the cost of what predicts hidden pixels: linear, two layers, or an inverse Swin, whose cost the paper has.

    Source of the last: SimMIM (arXiv:2111.09886), table 2: 1.7 and 2.3 times a training with the linear head, and the
    parameters. A tokeniser that makes targets is not counted.
    """
    width, stride = encoder.channels[-1], 16 if encoder.shape.family == "vit" else 32
    places = volume.height_px * volume.width_px / stride**2
    linear = float(width * 3 * stride**2)
    kind = recipe.head.kind
    if kind == "inverse_swin":
        factor, parameters = (1.3, 87e6) if recipe.head.size == "base" else (0.7, 27e6)
        return HeadCost(factor * encoder.flops, factor * encoder.flops, parameters, factor * encoder.largest_kept * 8)
    weights = linear + (width**2 if kind == "mlp" else 0)
    flops = 2 * places * weights
    return HeadCost(flops, flops, weights, 3 * places * width)
