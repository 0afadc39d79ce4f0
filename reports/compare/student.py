"""Student's t: the 95 % interval of a mean difference and its p, paired or by Welch, for one sample or for many."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike

LEVEL = 0.95
EQUAL = 1e-9
"""Values that differ by less than this, relative to their size, have no variance: what is left is rounding."""


class Estimate(NamedTuple):
    """The ends of an interval, and the two-sided p of a difference of zero; arrays [...], one value per sample.

    Without any variance the interval is a point, and `p` is NaN.
    """

    low: np.ndarray[Any, Any]
    high: np.ndarray[Any, Any]
    p: np.ndarray[Any, Any]


def paired_t(differences: ArrayLike) -> Estimate:
    """Return the interval of the mean of `differences` [..., n], n at least 2, by Student's t with n - 1 degrees."""
    import numpy as np

    found = np.asarray(differences, dtype=float)
    n = found.shape[-1]
    return _interval(found.mean(axis=-1), _variance(found) / n, np.asarray(n - 1.0))


def welch_t(ours: ArrayLike, theirs: ArrayLike) -> Estimate:
    """Return the interval of mean `ours` [..., n] less mean `theirs` [..., m] by Welch's t, whose degrees of freedom
    are Satterthwaite's. The variances may differ."""
    import numpy as np

    sides = [np.asarray(side, dtype=float) for side in (ours, theirs)]
    errors = [_variance(side) / side.shape[-1] for side in sides]
    error = errors[0] + errors[1]
    shares = [each**2 / (side.shape[-1] - 1) for each, side in zip(errors, sides, strict=True)]
    with np.errstate(invalid="ignore"):
        degrees = error**2 / (shares[0] + shares[1])
    return _interval(sides[0].mean(axis=-1) - sides[1].mean(axis=-1), error, degrees)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number by Holm's step-down method, in their order.

    Source: Holm 1979, A simple sequentially rejective multiple test procedure.
    """
    corrected, largest = [0.0] * len(p_values), 0.0
    for place, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - place) * p_values[index]))
        corrected[index] = largest
    return corrected


def _variance(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the sample variance along the last axis, exactly zero where only rounding is left."""
    import numpy as np

    size = np.maximum(1.0, np.abs(values).max(axis=-1))
    found = values.var(axis=-1, ddof=1)
    return np.where(np.ptp(values, axis=-1) <= EQUAL * size, 0.0, found)


def _interval(mean: Any, squared_error: Any, degrees: Any) -> Estimate:
    """Return the interval around `mean`; `squared_error` is the variance of the mean."""
    import numpy as np
    from scipy.special import stdtr, stdtrit

    error = np.sqrt(squared_error)
    with np.errstate(divide="ignore", invalid="ignore"):
        reach = np.where(error > 0, stdtrit(degrees, (1 + LEVEL) / 2) * error, 0.0)
        p = np.where(error > 0, 2 * stdtr(degrees, -np.abs(mean / error)), np.nan)
    return Estimate(mean - reach, mean + reach, p)
