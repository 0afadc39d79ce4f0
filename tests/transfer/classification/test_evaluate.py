"""Scores against scikit-learn, and against the definitions written out one image at a time."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, balanced_accuracy_score, log_loss, recall_score, top_k_accuracy_score
from torch import Tensor

from transfer.predictions.evaluation import Evaluation
from transfer.predictions.metrics import (
    by_frequency,
    calibration_error,
    mean_over_classes,
    per_class,
    top1_accepted,
    top_k,
)


def predictions(classes: int, images: int = 500, scale: float = 1.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(classes)
    logits = scale * torch.randn(images, classes, generator=generator)
    return logits, torch.randint(classes, (images,), generator=generator)


@pytest.mark.parametrize("classes", [3, 10, 100])
def test_accuracy_and_loss_equal_scikit_learn(classes: int) -> None:
    logits, labels = predictions(classes)
    every = np.arange(classes)
    assert top_k(logits, labels, 1) == pytest.approx(100 * accuracy_score(labels, logits.argmax(1)))
    top5 = 1.0 if classes <= 5 else top_k_accuracy_score(labels, logits, k=5, labels=every)
    assert top_k(logits, labels, 5) == pytest.approx(100 * top5)
    probabilities = logits.double().softmax(1).numpy()
    loss = Evaluation(logits, labels, torch.arange(500)).loss
    assert loss == pytest.approx(log_loss(labels, probabilities, labels=every), rel=1e-5)


def test_a_class_without_a_vote_is_never_a_hit() -> None:
    logits = torch.tensor([[0.0, -torch.inf, -torch.inf]])
    assert [top_k(logits, torch.tensor([label]), 3) for label in range(3)] == [100, 0, 0]


@pytest.mark.parametrize("scale", [0.5, 3.0, 30.0])
def test_calibration_error_is_guos(scale: float) -> None:
    """Guo et al. 2017, equations 1 to 3: bin m of 15 holds the confidences in ((m - 1) / 15, m / 15]."""
    logits, labels = predictions(10, scale=scale)
    bins: dict[int, list[tuple[float, bool]]] = {}
    for row, label in zip(np.asarray(logits, dtype=np.float64), labels.tolist(), strict=True):
        shares = np.exp(row - row.max()) / np.exp(row - row.max()).sum()
        bins.setdefault(math.ceil(shares.max() * 15), []).append((shares.max(), int(shares.argmax()) == label))
    expected = sum(
        len(members) / 500 * abs(np.mean([hit for _, hit in members]) - np.mean([share for share, _ in members]))
        for members in bins.values()
    )
    assert calibration_error(logits, labels) == pytest.approx(100 * expected, rel=1e-9)


def test_a_certain_and_right_classifier_is_calibrated() -> None:
    assert calibration_error(1e4 * torch.eye(4), torch.arange(4)) == 0


def test_accuracy_of_each_class_equals_scikit_learns_recall() -> None:
    logits, labels = predictions(10)
    found = per_class(logits, labels, [7] * 10)
    assert [each.label for each in found] == list(range(10))
    assert sum(each.test_images for each in found) == 500
    expected = 100 * recall_score(labels, logits.argmax(1), average=None)
    assert [each.top1 for each in found] == pytest.approx(list(expected))


def test_classes_without_test_images_have_no_accuracy() -> None:
    found = per_class(torch.eye(3)[:2], torch.tensor([0, 1]), [5, 5, 5])
    assert [each.label for each in found] == [0, 1]


@pytest.mark.parametrize("classes", [2, 10])
def test_the_mean_over_classes_is_scikit_learn_s_balanced_accuracy(classes: int) -> None:
    logits, labels = predictions(classes)
    found = mean_over_classes(per_class(logits, labels, [9] * classes))
    assert found == {"top1_macro": pytest.approx(100 * balanced_accuracy_score(labels, logits.argmax(1)))}
    even = torch.arange(classes).repeat(7)
    assert mean_over_classes(per_class(logits[: len(even)], even, [9] * classes)) == {}  # it would be top1


def test_frequency_groups_are_lius() -> None:
    """More than 100 training images: many; 20 to 100: medium; fewer than 20: few. Each class counts the same."""
    logits = 5 * torch.eye(4)[[0, 0, 1, 1, 1, 2, 3, 3]]
    labels = torch.tensor([0, 1, 1, 1, 1, 2, 3, 2])
    found = by_frequency(per_class(logits, labels, [101, 100, 20, 19]))
    recall = recall_score(labels, logits.argmax(1), average=None)
    expected = {"top1_many": recall[0], "top1_medium": (recall[1] + recall[2]) / 2, "top1_few": recall[3]}
    assert found == pytest.approx({name: 100 * value for name, value in expected.items()})


def test_a_group_without_classes_is_absent() -> None:
    assert set(by_frequency(per_class(torch.eye(2), torch.arange(2), [500, 20]))) == {"top1_many", "top1_medium"}


def test_reassessed_labels_accept_any_of_several_and_leave_unlabelled_images_out() -> None:
    """Beyer et al. 2020: right where the prediction is one of the labels; images without labels are not counted."""
    accepted = [frozenset({0, 2}), frozenset({0}), frozenset(), frozenset({1})]
    predicted = torch.eye(3)[[2, 1, 0, 1]]
    assert top1_accepted(predicted, accepted) == pytest.approx(100 * 2 / 3)


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_equal_classes_are_told_apart_alike_by_scores_and_predictions(k: int) -> None:
    """Votes of neighbours are often equal: of these classes the first counts, and of those without votes none."""
    logits = torch.randint(0, 3, (400, 4), generator=torch.Generator().manual_seed(0)).float()
    logits[logits == 0] = -torch.inf
    labels = torch.arange(400) % 4
    best = np.argsort(-logits.numpy(), axis=1, kind="stable").tolist()
    hits = [
        label in ranked[:k] and row[label] > -math.inf
        for row, label, ranked in zip(logits.tolist(), labels.tolist(), best, strict=True)
    ]
    assert top_k(logits, labels, k) == pytest.approx(100 * sum(hits) / 400)
    found = Evaluation(logits, labels, torch.arange(400))
    assert found.predicted.tolist() == [ranked[0] for ranked in best]
