"""The difference of two rows' scores, seed by seed, and its bootstrap interval."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from reports.text import count

if TYPE_CHECKING:
    import numpy as np

TAILS = (0.025, 0.975)
EXACT_LIMIT = 100_000
RESAMPLES = 10_000
RNG_SEED = 0
SEEDS_NEEDED = 3


class Interval(NamedTuple):
    """A percentile bootstrap interval of a mean, and how it was computed."""

    low: float
    high: float
    resamples: int
    exact: bool
    """True when all n^n resamples were enumerated, False when they were drawn at random."""


@dataclass(frozen=True)
class Comparison:
    """A row against its baseline. Without a delta, or without an interval, `note` says why."""

    delta: float | None = None
    interval: Interval | None = None
    note: str = ""
    mark: str = ""
    """What is not alike in the two, where the difference is taken all the same."""


BASELINE = Comparison(note="baseline")


def difference(scores: Mapping[int, float], baseline: Mapping[int, float]) -> Comparison:
    """Return the mean difference of two rows' scores (by seed), with its interval where the seeds allow one.

    With three or more seeds in common the difference is taken over those, seed by seed. With fewer it is the
    difference of the two means, without an interval.
    """
    if not baseline:
        return Comparison(note="the baseline has no such score")
    common = sorted(scores.keys() & baseline.keys())
    if len(common) < SEEDS_NEEDED:
        delta = statistics.fmean(scores.values()) - statistics.fmean(baseline.values())
        note = f"no interval: {count(len(common), 'seed')} in common, {SEEDS_NEEDED} are needed"
        return Comparison(delta, None, note)
    paired = [scores[seed] - baseline[seed] for seed in common]
    note = ""
    if len(common) < max(len(scores), len(baseline)):
        note = f"over the seeds in common: {', '.join(map(str, common))}"
    return Comparison(statistics.fmean(paired), bootstrap(paired), note)


def bootstrap(values: Sequence[float]) -> Interval:
    """Return the 95 % percentile interval of the mean of `values` under resampling with replacement.

    Up to 100,000 possible resamples (n <= 6) all are enumerated, so that the interval is exact; for more values
    10,000 are drawn with a fixed random seed.
    """
    import numpy as np

    n = len(values)
    means = np.asarray(values)[_resamples(n)].mean(axis=0)
    low, high = np.quantile(means, TAILS, method="inverted_cdf")
    return Interval(float(low), float(high), means.size, _enumerated(n))


def _enumerated(n: int) -> bool:
    return int(n**n) <= EXACT_LIMIT


@cache
def _resamples(n: int) -> np.ndarray[Any, Any]:
    """Return which values [n, N] make up each of N resamples of n."""
    import numpy as np

    if _enumerated(n):
        return np.indices((n,) * n).reshape(n, -1)
    return np.random.default_rng(RNG_SEED).integers(n, size=(RESAMPLES, n)).T
