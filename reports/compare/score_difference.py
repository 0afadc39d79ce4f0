"""The difference of two rows' scores and its 95 % interval: paired by seed where seeds pair, Welch's elsewhere."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from reports.compare.student import Estimate, paired_t, welch_t
from reports.text import count

PAIRS_NEEDED = 2
"""Two differences make a paired interval: a wide one that holds what it promises."""
SEEDS_NEEDED = 3
"""What Welch's interval needs of each side: with two seeds it holds the truth in 90 to 97 % of cases."""


class Interval(NamedTuple):
    """The 95 % interval of a difference by Student's t, and how it was computed."""

    low: float
    high: float
    p: float | None
    """Of the same test, two-sided; None where the differences have no variance, and the interval is a point."""
    method: str
    """With its n: `paired t, n = 3`, or `Welch's t, n = 3 and 5`."""


@dataclass(frozen=True)
class Comparison:
    """A row against its baseline. Without a delta, or without an interval, `note` says why."""

    delta: float | None = None
    interval: Interval | None = None
    note: str = ""


BASELINE = Comparison(note="baseline")


def difference(scores: Mapping[int, float], baseline: Mapping[int, float]) -> Comparison:
    """Return the mean difference of two rows' scores (by seed), with its interval where the seeds allow one.

    With two or more seeds in common the difference is taken over those, seed by seed. Else it is the difference of the
    two means, with Welch's interval where both have three or more seeds.
    """
    if not baseline:
        return Comparison(note="the baseline has no such score")
    common = sorted(scores.keys() & baseline.keys())
    if len(common) < PAIRS_NEEDED:
        return _of_means(scores, baseline, len(common))
    paired = [scores[seed] - baseline[seed] for seed in common]
    interval = _interval(paired_t(paired), f"paired t, n = {len(common)}")
    notes = ["no variance over seeds"] if interval.p is None else []
    if len(common) < max(len(scores), len(baseline)):
        notes.append(f"over the seeds in common: {', '.join(map(str, common))}")
    return Comparison(statistics.fmean(paired), interval, "; ".join(notes))


def _of_means(scores: Mapping[int, float], baseline: Mapping[int, float], common: int) -> Comparison:
    ours, theirs = list(scores.values()), list(baseline.values())
    delta = statistics.fmean(ours) - statistics.fmean(theirs)
    if min(len(ours), len(theirs)) < SEEDS_NEEDED:
        needed = f"{PAIRS_NEEDED} are needed, or {SEEDS_NEEDED} of each"
        return Comparison(delta, None, f"no interval: {count(common, 'seed')} in common, {needed}")
    interval = _interval(welch_t(ours, theirs), f"Welch's t, n = {len(ours)} and {len(theirs)}")
    return Comparison(delta, interval, "no variance over seeds" if interval.p is None else "")


def _interval(found: Estimate, method: str) -> Interval:
    p = float(found.p)
    return Interval(float(found.low), float(found.high), None if math.isnan(p) else p, method)


def methods(comparisons: Iterable[Comparison]) -> str:
    """Return, each once, by what methods the intervals of several differences were computed; empty without any."""
    return "; ".join(dict.fromkeys(one.interval.method for one in comparisons if one.interval is not None))
