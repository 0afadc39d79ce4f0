"""mIoU, mean accuracy and pixel accuracy from one confusion matrix over all pixels of a test set."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from transfer.segmentation.plans.plan import ignored_label


@dataclass(frozen=True)
class Confusion:
    """Counts [classes, classes] int64 of pixels: rows are their true classes, columns the predicted ones."""

    counts: Tensor

    @classmethod
    def empty(cls, num_classes: int, device: torch.device | None = None) -> Confusion:
        """Return a matrix of zeros."""
        return cls(torch.zeros(num_classes, num_classes, dtype=torch.int64, device=device))

    def add(self, labels: Tensor, predicted: Tensor) -> None:
        """Count an image's pixels by `labels` and `predicted` classes [H, W]; ignored ones are left out."""
        classes, known = len(self.counts), labels != ignored_label(len(self.counts))
        pairs = labels[known].long() * classes + predicted[known].long()
        self.counts.add_(torch.bincount(pairs, minlength=classes**2).view(classes, classes))

    @property
    def true(self) -> Tensor:
        """The number of pixels of each class [classes]."""
        return self.counts.sum(dim=1)

    def iou(self) -> Tensor:
        """Return intersection over union [classes] float64; NaN for a class that is neither present nor predicted."""
        hits = self.counts.diagonal()
        return hits.double() / (self.true + self.counts.sum(dim=0) - hits)

    def accuracy(self) -> Tensor:
        """Return the share of each class's pixels that is found [classes] float64; NaN for a class without pixels."""
        return self.counts.diagonal().double() / self.true

    def metrics(self) -> dict[str, float]:
        """Return in percent the means over classes (without NaN, as mmseg), mIoU and mAcc, and aAcc of all pixels."""
        return {
            "mIoU": 100 * self.iou().nanmean().item(),
            "mAcc": 100 * self.accuracy().nanmean().item(),
            "aAcc": 100 * (self.counts.diagonal().sum().double() / self.counts.sum()).item(),
        }

    def table(self, classes: Sequence[str]) -> str:
        """Return CSV with a line for each class, whose name is in `classes`; NaN becomes an empty cell."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["class", "iou_percent", "accuracy_percent", "pixels"])
        columns = (self.iou().tolist(), self.accuracy().tolist(), self.true.tolist())
        for name, iou, accuracy, pixels in zip(classes, *columns, strict=True):
            writer.writerow([name, _percent(iou), _percent(accuracy), pixels])
        return text.getvalue()


def _percent(share: float) -> str:
    return "" if share != share else repr(100 * share)
