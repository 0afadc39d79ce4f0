"""Scores of a classifier, all in percent, from its logits and the true classes.

A logit of minus infinity means that the class got no vote at all: it never counts as a hit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

ECE_BINS = 15
MANY_ABOVE, FEW_BELOW = 100, 20
"""Numbers of training images: a class with more than the first has many, one with less than the second has few.

Source of these limits: Liu et al. 2019 (arXiv 1904.05160).
"""


def top_k(logits: Tensor, labels: Tensor, k: int) -> float:
    """Return the percentage of images [N] whose class is among the k largest logits [N, C]."""
    return 100 * _hits(logits, labels, k).double().mean().item()


def _hits(logits: Tensor, labels: Tensor, k: int) -> Tensor:
    own = logits.gather(1, labels.unsqueeze(1))
    earlier = torch.arange(logits.shape[1], device=labels.device) < labels.unsqueeze(1)
    before = (logits > own) | ((logits == own) & earlier)  # of equal classes the first, as argmax has it
    return (before.sum(dim=1) < k) & (own.squeeze(1) > -torch.inf)


def among(logits: Tensor, classes: Sequence[int]) -> Tensor:
    """Return logits [N, C] in which only `classes` can be predicted; the others have minus infinity.

    Source: Hendrycks et al. 2021 (arXiv 1907.07174 and 2006.16241), whose code for ImageNet-A and ImageNet-R takes the
    200 classes' logits out of the 1,000 before it looks for the largest.
    """
    masked = torch.full_like(logits, -torch.inf)
    masked[:, list(classes)] = logits[:, list(classes)]
    return masked


def top1_accepted(logits: Tensor, accepted: Sequence[frozenset[int]]) -> float:
    """Return the percentage of predictions that are in their image's set of accepted classes.

    Images with an empty set are left out. Source: Beyer et al. 2020 (arXiv 2006.07159), for ImageNet's reassessed
    labels.
    """
    predicted = logits.argmax(dim=1).tolist()
    judged = [label in classes for label, classes in zip(predicted, accepted, strict=True) if classes]
    return 100 * sum(judged) / len(judged)


def calibration_error(logits: Tensor, labels: Tensor, bins: int = ECE_BINS) -> float:
    """Return the expected calibration error: |accuracy - confidence| in bins of equal width, weighted by their images.

    A bin excludes its lower edge and includes its upper one. Source: Guo et al. 2017 (arXiv 1706.04599).
    """
    confidence, predicted = logits.double().softmax(dim=1).max(dim=1)
    edges = torch.linspace(0, 1, bins + 1, dtype=torch.float64)
    index = torch.bucketize(confidence, edges).clamp(1, bins) - 1
    surplus = (predicted == labels).double() - confidence
    gaps = torch.zeros(bins, dtype=torch.float64).index_add_(0, index, surplus)
    return 100 * gaps.abs().sum().item() / len(labels)


@dataclass(frozen=True)
class ClassAccuracy:
    """How well one class is recognised on the test set."""

    label: int
    train_images: int
    test_images: int
    top1: float
    """Percentage of its test images that are predicted as this class."""


def per_class(logits: Tensor, labels: Tensor, train_images: Sequence[int]) -> list[ClassAccuracy]:
    """Return the accuracy of every class that the test set has; `train_images` counts the training images by class."""
    classes = len(train_images)
    hits = torch.zeros(classes).index_add_(0, labels, _hits(logits, labels, 1).float()).tolist()
    counts = torch.bincount(labels, minlength=classes).tolist()
    return [
        ClassAccuracy(label, train_images[label], counts[label], 100 * hits[label] / counts[label])
        for label in range(classes)
        if counts[label]
    ]


def mean_over_classes(classes: Sequence[ClassAccuracy]) -> dict[str, float]:
    """Return the mean of the classes' accuracies; none where all have as many test images, since it is top-1 then."""
    if len({each.test_images for each in classes}) < 2:
        return {}
    return {"top1_macro": sum(each.top1 for each in classes) / len(classes)}


def by_frequency(classes: Sequence[ClassAccuracy]) -> dict[str, float]:
    """Return the mean accuracy over classes with many, medium and few training images; empty groups are absent.

    It is empty where the training images are not known, as for a model that others trained.
    """
    if not any(each.train_images for each in classes):
        return {}
    groups = {
        "top1_many": [each.top1 for each in classes if each.train_images > MANY_ABOVE],
        "top1_medium": [each.top1 for each in classes if FEW_BELOW <= each.train_images <= MANY_ABOVE],
        "top1_few": [each.top1 for each in classes if each.train_images < FEW_BELOW],
    }
    return {name: sum(values) / len(values) for name, values in groups.items() if values}
