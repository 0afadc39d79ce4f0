"""The loss of depth: how far logarithms of depths are apart, mostly without regard to a common scale.

Source: Eigen et al. 2014 as AdaBins has it (arXiv 2011.14141), facebookresearch/dinov2 `eval/depth/models/losses/
sigloss.py`. The gradient loss that DINOv2 adds takes differences between images two apart in a batch, where rows are
meant, and is therefore zero for the two images on each of its GPUs: there is none here.
"""

from __future__ import annotations

import torch
from torch import Tensor

SMALLEST_M = 0.001
"""What is added to depths before their logarithm is taken."""
MEAN_SHARE = 0.15
"""How much of the squared mean difference, which is that of the scale, is part of the loss."""


def scale_invariant(predicted: Tensor, depths: Tensor, *, warming_up: bool) -> Tensor:
    """Return the loss of depths [...] in metres whose true values are `depths`, of which 0 is unknown.

    While `warming_up` it is the part of the scale alone. Where fewer than two depths are known it is zero.
    """
    known = depths > 0
    if int(known.sum()) < 2:
        return predicted.sum() * 0
    apart = (predicted[known] + SMALLEST_M).log() - (depths[known] + SMALLEST_M).log()
    of_scale = MEAN_SHARE * apart.mean().square()
    return (of_scale if warming_up else apart.var() + of_scale).sqrt()


def grouped_loss(predicted: Tensor, depths: Tensor, images_at_once: int, *, warming_up: bool) -> Tensor:
    """Return the mean loss of groups of images [B, H, W], each over the pixels of all its images."""
    groups = zip(torch.split(predicted, images_at_once), torch.split(depths, images_at_once), strict=True)
    return torch.stack([scale_invariant(ours, true, warming_up=warming_up) for ours, true in groups]).mean()
