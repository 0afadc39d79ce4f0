"""Masks of objects and detections that do not need memory of a whole image for each of hundreds of boxes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from pycocotools import mask as coco_masks
from torch import Tensor
from torch.nn.functional import grid_sample
from torchvision.ops import roi_align

from transfer.detection.data.outlines import Rle

THRESHOLD = 0.5


def encoded_masks(masks: Tensor, boxes: Tensor, size: tuple[int, int]) -> list[Rle]:
    """Return masks as COCO's RLE on an image of `size` (h, w), from probabilities [N, M, M] over boxes [N, 4] xyxy.

    A pixel is inside where the mask, interpolated at the pixel's centre, is at least one half. Only a box's own pixels
    are computed: a hundred whole masks of a large image would take a gigabyte.
    """
    found = []
    for mask, box in zip(masks, boxes, strict=True):
        canvas = np.zeros(size, np.uint8, order="F")
        region = _region(box, size)
        canvas[region] = _inside(mask, box, region)
        found.append(coco_masks.encode(canvas))
    return found


def _region(box: Tensor, size: tuple[int, int]) -> tuple[slice, slice]:
    """Return the rows and columns whose pixel centres may lie inside a box."""
    left, top, right, bottom = box.tolist()
    return (
        slice(max(int(top), 0), min(int(bottom) + 1, size[0])),
        slice(max(int(left), 0), min(int(right) + 1, size[1])),
    )


def _inside(mask: Tensor, box: Tensor, region: tuple[slice, slice]) -> np.ndarray[Any, Any]:
    """Return which pixels of a region are inside a mask [M, M] over a box, as [h, w] bool."""
    (left, top), (right, bottom) = box[:2].tolist(), box[2:].tolist()
    rows, columns = (torch.arange(side.start, side.stop, dtype=torch.float32) + 0.5 for side in region)
    y, x = (rows - top) / (bottom - top) * 2 - 1, (columns - left) / (right - left) * 2 - 1
    grid = torch.stack([x.expand(len(y), len(x)), y[:, None].expand(len(y), len(x))], dim=2)
    values = grid_sample(mask[None, None], grid[None], align_corners=False)[0, 0]
    return (values >= THRESHOLD).numpy()


class SharedMasks:
    """Masks of an image's objects, each given to any number of proposals without a copy of it.

    At 1024 px, a mask for each of 512 proposals would take half a gigabyte per image.
    """

    def __init__(self, masks: Tensor, rows: Tensor | None = None) -> None:
        """`masks` [N, H, W] are the objects', `rows` [P] says which of them each proposal has; None: each its own."""
        self.masks = masks
        self.rows = torch.arange(len(masks), device=masks.device) if rows is None else rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, rows: Tensor) -> SharedMasks:
        return SharedMasks(self.masks, self.rows[rows])

    def crop_and_resize(self, boxes: Tensor, side: int) -> Tensor:
        """Return each proposal's part of its mask as [P, side, side] bool, from boxes [P, 4] xyxy in px."""
        used, rows = torch.unique(self.rows, return_inverse=True)
        places = torch.cat([rows[:, None].to(boxes), boxes], dim=1)
        shares: Tensor = roi_align(self.masks[used, None].to(boxes), places, (side, side), aligned=True)
        return shares[:, 0] >= THRESHOLD
