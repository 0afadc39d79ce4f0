"""Rank correlation with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from reports.compare.differences import RESAMPLES, RNG_SEED, TAILS

if TYPE_CHECKING:
    import numpy as np

PAIRS_NEEDED = 5


@dataclass(frozen=True)
class Correlation:
    """Spearman's rank correlation over n pairs, with a 95 % percentile bootstrap interval over the pairs."""

    rho: float
    low: float
    high: float
    n: int


def spearman(x: Sequence[float], y: Sequence[float]) -> Correlation | None:
    """Correlate by ranks, ties at their mean rank; None for fewer than 5 pairs or where one side never varies.

    The interval comes of 10,000 resamples of the pairs with a fixed random seed; those in which one side never varies
    have no correlation and count for nothing.
    """
    import numpy as np

    pairs = np.array([x, y], dtype=float)
    n = pairs.shape[1]
    if n < PAIRS_NEEDED or (np.ptp(pairs, axis=1) == 0).any():
        return None
    chosen = np.random.default_rng(RNG_SEED).integers(n, size=(RESAMPLES, n))
    drawn = _rank_correlations(pairs[0][chosen], pairs[1][chosen])
    low, high = np.nanquantile(drawn, TAILS)
    (rho,) = _rank_correlations(pairs[:1], pairs[1:])
    return Correlation(float(rho), float(low), float(high), n)


def _rank_correlations(x: np.ndarray[Any, Any], y: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the rank correlation [N] of each row of x [N, n] with that of y; NaN where one never varies."""
    import numpy as np
    from scipy.stats import rankdata

    centred = [ranks - ranks.mean(axis=1, keepdims=True) for ranks in (rankdata(x, axis=1), rankdata(y, axis=1))]
    products, squares = (centred[0] * centred[1]).sum(axis=1), [(each**2).sum(axis=1) for each in centred]
    with np.errstate(invalid="ignore"):
        found: np.ndarray[Any, Any] = products / np.sqrt(squares[0] * squares[1])
    return found
