"""Random changes of images and depth maps together.

Source: zhyever/Monocular-Depth-Estimation-Toolbox `depth/datasets/pipelines/transforms.py`, with which DINOv2's heads
were trained. What a turned image leaves empty is unknown here, as in DINOv3, and there 255 m deep.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from transfer.depth.recipe import DepthAugmentation

NYU_SIZE_PX = (480, 640)
NYU_BORDER_PX = ((45, 472), (43, 608))
"""Rows and columns of NYUv2 that training images keep, of 480x640."""
EIGEN_PX = ((45, 471), (41, 601))
"""Rows and columns that are scored (Eigen et al. 2014)."""


def window(shape: Sequence[int], of_nyu: tuple[tuple[int, int], tuple[int, int]] | None) -> tuple[slice, slice]:
    """Return a part of NYUv2's size as that of an image [H, W], in proportion; None is the whole image."""
    if of_nyu is None:
        return slice(0, shape[0]), slice(0, shape[1])
    (top, bottom), (left, right) = of_nyu
    (height, width), (rows, columns) = NYU_SIZE_PX, shape[:2]
    return (
        slice(int(top / height * rows), int(bottom / height * rows)),
        slice(int(left / width * columns), int(right / width * columns)),
    )


@dataclass(frozen=True)
class Augment:
    """Makes crops of image and depth; what is drawn comes from Python's own source of randomness."""

    how: DepthAugmentation
    crop_px: tuple[int, int]
    border: tuple[tuple[int, int], tuple[int, int]] | None

    def left(self, shape: Sequence[int]) -> tuple[int, int]:
        """Return height and width of an image without its border."""
        rows, columns = window(shape, self.border)
        return rows.stop - rows.start, columns.stop - columns.start

    def __call__(self, image: np.ndarray, depth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return a crop of an image [H, W, 3] of 0 to 255 and its depth [H, W]."""
        kept = window(depth.shape, self.border)
        image, depth = image[kept], depth[kept]
        if random.random() < self.how.rotation:
            angle = random.uniform(-self.how.rotation_degrees, self.how.rotation_degrees)
            image, depth = turned(image, angle, Image.Resampling.BILINEAR), turned(depth, angle)
        if random.random() < self.how.horizontal_flip:
            image, depth = image[:, ::-1], depth[:, ::-1]
        height, width = self.crop_px
        top, left = (random.randint(0, side - crop) for side, crop in zip(depth.shape, self.crop_px, strict=True))
        image, depth = (each[top : top + height, left : left + width] for each in (image, depth))
        return (self._recoloured(image) if random.random() < self.how.colour else image), depth

    def _recoloured(self, image: np.ndarray) -> np.ndarray:
        """Return an image with another gamma (of values up to 255, as there), brightness and colours."""
        gamma, brightness = random.uniform(*self.how.gamma), random.uniform(*self.how.brightness)
        factors = np.array([random.uniform(*self.how.colours) for _ in range(3)])
        changed: np.ndarray = np.clip(image.astype(np.float64) ** gamma * brightness * factors, 0, 255)
        return changed


def turned(values: np.ndarray, angle: float, resample: Image.Resampling = Image.Resampling.NEAREST) -> np.ndarray:
    """Return an image turned around its centre by degrees; what it leaves empty is 0."""
    return np.asarray(Image.fromarray(np.ascontiguousarray(values)).rotate(angle, resample))
