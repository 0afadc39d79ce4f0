"""Turning an annotation's segmentation into pixels or one run-length encoding, with pycocotools."""

from __future__ import annotations

from typing import Any

import numpy as np
from pycocotools import mask as coco_masks

from transfer.detection.data.coco import Segmentation

Rle = dict[str, Any]
"""COCO's compressed run-length encoding: `size` [height, width] and `counts`."""


def encoded(segmentation: Segmentation, height: int, width: int) -> Rle:
    """Return polygons, or an RLE of either kind, as one compressed RLE."""
    if not isinstance(segmentation, dict):
        joined: Rle = coco_masks.merge(coco_masks.frPyObjects(list(segmentation), height, width))
        return joined
    given = {"size": [height, width], "counts": segmentation["counts"]}
    if isinstance(given["counts"], str):
        return given
    rle: Rle = coco_masks.frPyObjects(given, height, width)
    return rle


def drawn(segmentation: Segmentation, height: int, width: int) -> np.ndarray:
    """Return a segmentation as pixels [height, width] uint8, 0 and 1."""
    pixels: np.ndarray = coco_masks.decode(encoded(segmentation, height, width))
    return pixels
