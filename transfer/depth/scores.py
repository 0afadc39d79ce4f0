"""RMSE, absolute relative error and shares of pixels within a factor: the mean over images of each image's own.

Source: zhyever/Monocular-Depth-Estimation-Toolbox `depth/core/evaluation/metrics.py`, `depth/datasets/nyu.py`.
"""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from transfer.depth.augment import EIGEN_PX, window
from transfer.depth.recipe import LinearDepthRecipe

FACTOR = 1.25


class ImageScore(NamedTuple):
    """The scores of one test image."""

    position: int
    pixels: int
    rmse: float
    """In centimetres, so that tables' two digits tell encoders apart."""
    abs_rel: float
    """In percent of the true depth."""
    delta1: float
    """The share of pixels in percent whose depth is wrong by less than a factor of 1.25; of 1.25 ** 2, 1.25 ** 3."""
    delta2: float
    delta3: float


METRICS = ImageScore._fields[2:]


def image_score(position: int, predicted: Tensor, depth: Tensor, recipe: LinearDepthRecipe) -> ImageScore | None:
    """Return the scores of an image's depths [H, W] in metres; None where none of its pixels is scored."""
    scored = window(depth.shape, EIGEN_PX if recipe.border == "nyu" else None)
    ours, true = predicted[scored].double(), depth[scored].double()
    known = (true > recipe.min_depth_m) & (true < recipe.max_depth_m)
    if not known.any():
        return None
    ours, true = ours[known], true[known]
    factor, apart = torch.maximum(ours / true, true / ours), ours - true
    shares = [100 * (factor < FACTOR**power).double().mean().item() for power in (1, 2, 3)]
    errors = (100 * apart.square().mean().sqrt().item(), 100 * (apart.abs() / true).mean().item())
    return ImageScore(position, int(known.sum()), *errors, *shares)


@dataclass(frozen=True)
class DepthScores:
    """The scores of all test images that have known depths, in order."""

    images: Sequence[ImageScore]

    def metrics(self) -> dict[str, float]:
        """Return the means over images by name."""
        return {name: statistics.fmean(getattr(each, name) for each in self.images) for name in METRICS}

    def table(self, names: Sequence[str]) -> str:
        """Return CSV with a line for each image, whose name is in `names`."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["image", *ImageScore._fields[1:]])
        for each in self.images:
            writer.writerow([names[each.position], each.pixels, *(repr(value) for value in each[2:])])
        return text.getvalue()
