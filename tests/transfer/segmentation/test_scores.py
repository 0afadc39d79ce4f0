"""Our confusion matrix against scikit-learn's, and the scores against mmseg's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import confusion_matrix

from tests.support.libraries import library
from transfer.segmentation.scores import Confusion

CLASSES = 5


@pytest.fixture
def pictures() -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Labels with ignored pixels, and predictions that are often right; class 4 is neither there nor predicted."""
    draw = torch.Generator().manual_seed(2)
    found = []
    for size in ((37, 50), (64, 21), (30, 30)):
        labels = torch.randint(0, 4, size, generator=draw)
        wrong = torch.rand(size, generator=draw) < 0.4
        predicted = torch.where(wrong, torch.randint(0, 4, size, generator=draw), labels)
        labels[torch.rand(size, generator=draw) < 0.1] = 255
        found.append((labels.to(torch.uint8), predicted))
    return found


def counted(pictures: list[tuple[torch.Tensor, torch.Tensor]]) -> Confusion:
    confusion = Confusion.empty(CLASSES)
    for labels, predicted in pictures:
        confusion.add(labels, predicted)
    return confusion


def test_counts_are_scikit_learns(pictures: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
    labels = torch.cat([each.flatten() for each, _ in pictures]).numpy()
    predicted = torch.cat([each.flatten() for _, each in pictures]).numpy()
    known = labels != 255
    expected = confusion_matrix(labels[known], predicted[known], labels=range(CLASSES))
    assert (counted(pictures).counts.numpy() == expected).all()


def test_scores_are_mmsegs(pictures: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
    metric = library("mmseg.evaluation", "onedl-mmsegmentation").IoUMetric
    areas = [metric.intersect_and_union(predicted, labels.long(), CLASSES, 255) for labels, predicted in pictures]
    totals = [sum(column) for column in zip(*areas, strict=True)]
    expected = metric.total_area_to_metrics(*totals, metrics=["mIoU"])
    confusion = counted(pictures)
    np.testing.assert_allclose(confusion.iou().numpy(), expected["IoU"], rtol=1e-6)
    np.testing.assert_allclose(confusion.accuracy().numpy(), expected["Acc"], rtol=1e-6)
    scores = confusion.metrics()
    assert scores["aAcc"] == pytest.approx(100 * float(expected["aAcc"]))
    assert scores["mIoU"] == pytest.approx(100 * float(np.nanmean(expected["IoU"])))
    assert scores["mAcc"] == pytest.approx(100 * float(np.nanmean(expected["Acc"])))


def test_the_table_has_empty_cells_for_what_is_not_there() -> None:
    confusion = Confusion(torch.tensor([[3, 1], [0, 0]]))
    assert confusion.table(["wall", "sky"]).splitlines() == [
        "class,iou_percent,accuracy_percent,pixels",
        "wall,75.0,75.0,4",
        "sky,0.0,,0",
    ]
