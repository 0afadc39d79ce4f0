"""Scores against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, log_loss, top_k_accuracy_score

from transfer.evaluate import Evaluation


@pytest.mark.parametrize("classes", [3, 10, 100])
def test_metrics_equal_scikit_learn(classes: int) -> None:
    generator = torch.Generator().manual_seed(classes)
    logits = torch.randn(500, classes, generator=generator)
    labels = torch.randint(classes, (500,), generator=generator)
    found = Evaluation(logits, labels, torch.arange(500), []).metrics()
    every = np.arange(classes)
    assert found["top1"] == pytest.approx(100 * accuracy_score(labels, logits.argmax(1)))
    top5 = 1.0 if classes <= 5 else top_k_accuracy_score(labels, logits, k=5, labels=every)
    assert found["top5"] == pytest.approx(100 * top5)
    probabilities = logits.double().softmax(1).numpy()
    assert found["eval_loss"] == pytest.approx(log_loss(labels, probabilities, labels=every), rel=1e-5)
