"""Spearman's rank correlation with its interval."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

PAIRS_NEEDED = 5
TAILS = (0.025, 0.975)
RESAMPLES = 10_000
RNG_SEED = 0


@dataclass(frozen=True)
class Correlation:
    """Spearman's rank correlation over n pairs, with a 95 % percentile bootstrap interval over the pairs."""

    rho: float
    low: float
    high: float
    n: int


def spearman(x: Sequence[float], y: Sequence[float]) -> Correlation | None:
    """Correlate by ranks, ties at their mean rank; None for fewer than 5 pairs or where one side never varies.

    The interval is that of 10,000 resamples of the pairs with a fixed random seed, without those in which one side
    never varies, which have no correlation. SciPy's `spearmanr` takes one resample at a time, 100 times as long.
    """
    import numpy as np
    from scipy.stats import ConstantInputWarning, NearConstantInputWarning, pearsonr, rankdata, spearmanr

    pairs = np.array([x, y], dtype=float)
    n = pairs.shape[1]
    if n < PAIRS_NEEDED or (np.ptp(pairs, axis=1) == 0).any():
        return None
    chosen = np.random.default_rng(RNG_SEED).integers(n, size=(RESAMPLES, n))
    ranks = rankdata(pairs[:, chosen], axis=2)
    with warnings.catch_warnings():
        for kind in (ConstantInputWarning, NearConstantInputWarning):
            warnings.simplefilter("ignore", kind)
        drawn = pearsonr(ranks[0], ranks[1], axis=1).statistic
    low, high = np.nanquantile(drawn, TAILS)
    return Correlation(float(spearmanr(*pairs).statistic), float(low), float(high), n)
