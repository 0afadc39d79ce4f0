"""Multinomial logistic regression with an L2 penalty, fitted by L-BFGS in float64 on any device.

What is minimised is scikit-learn's objective: the sum of cross-entropies times C, and half the squared weights, without
the intercepts. Its minimum is unique, so any solver that reaches it gives the same predictions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor
from torch.nn import functional

CHUNK = 2**16
"""How many images' logits are in memory at once."""


@dataclass(frozen=True)
class Fitted:
    """A linear classifier: weights [C, D] and intercepts [C] in float64."""

    weights: Tensor
    intercepts: Tensor
    iterations: int

    def logits(self, features: Tensor) -> Tensor:
        """Return the logits [N, C] of features [N, D]."""
        return features.double() @ self.weights.T + self.intercepts


def fit(
    features: Tensor,
    labels: Tensor,
    classes: int,
    strength: float,
    *,
    intercept: bool = True,
    max_iterations: int = 1000,
    tolerance: float = 1e-12,
) -> Fitted:
    """Fit features [N, D] to labels [N]; `strength` is C. The fit begins with zeros and draws nothing.

    The penalty keeps the weights in the span of the features. Where these are fewer than their width, the fit goes on
    in an orthonormal basis of that span, in which it has the same minimum and N unknowns of each class instead of D.
    """
    features, labels = features.double(), labels.to(features.device)
    basis = torch.linalg.qr(features.T).Q if len(features) < features.shape[1] else None  # [D, N]
    columns = features if basis is None else features @ basis
    # Two classes have one vector of weights in scikit-learn and in cuML: two that oppose each other, at half of C.
    penalty = 1 / (len(features) * (strength / 2 if classes == 2 else strength))
    options = {"maxiter": max_iterations, "maxls": 50, "gtol": tolerance, "ftol": 64 * np.finfo(float).eps}
    found = _minimum(columns, labels, classes, penalty, options, intercept=intercept)
    return found if basis is None else Fitted(found.weights @ basis.T, found.intercepts, found.iterations)


def _minimum(
    features: Tensor, labels: Tensor, classes: int, penalty: float, options: Mapping[str, float], *, intercept: bool
) -> Fitted:
    """Return the classifier of least loss of features [N, D] in float64; `options` are those of SciPy's L-BFGS-B."""
    count, width = features.shape

    def split(values: Tensor) -> tuple[Tensor, Tensor]:
        return values[: classes * width].reshape(classes, width), values[classes * width :]

    def objective(values: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        weights, intercepts = split(torch.from_numpy(values).to(features.device))
        loss = 0.5 * penalty * weights.square().sum()
        of_weights, of_intercepts = penalty * weights, torch.zeros(classes, dtype=torch.float64, device=features.device)
        for first in range(0, count, CHUNK):
            rows, wanted = features[first : first + CHUNK], labels[first : first + CHUNK]
            logits = rows @ weights.T + (intercepts if intercept else 0)
            loss += functional.cross_entropy(logits, wanted, reduction="sum") / count
            error = (logits.softmax(dim=1) - functional.one_hot(wanted, classes)) / count
            of_weights = of_weights + error.T @ rows
            of_intercepts += error.sum(dim=0)
        gradient = torch.cat([of_weights.reshape(-1), *([of_intercepts] if intercept else [])])
        return loss.item(), gradient.cpu().numpy()

    start = np.zeros(classes * width + classes * intercept)
    found = minimize(objective, start, jac=True, method="L-BFGS-B", options=options)
    weights, intercepts = split(torch.from_numpy(found.x).to(features.device))
    return Fitted(weights, intercepts if intercept else weights.new_zeros(classes), int(found.nit))
