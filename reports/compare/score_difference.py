"""The difference of two rows' scores and its 95 % interval: paired by seed where seeds pair, Welch's elsewhere."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from reports.compare.student import Estimate, paired_t, welch_t
from reports.records.rows import Draw, units
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
    """With its n: `paired t, n = 3`, `Welch's t, n = 3 and 5`, `paired t, n = 3 pretrainings x 3 seeds`."""


@dataclass(frozen=True)
class Comparison:
    """A row against its baseline. Without a delta, or without an interval, `note` says why."""

    delta: float | None = None
    interval: Interval | None = None
    note: str = ""
    mark: str = ""
    """What is not alike in the two, where the difference is taken all the same."""


BASELINE = Comparison(note="baseline")


def difference(scores: Mapping[Draw, float], baseline: Mapping[Draw, float]) -> Comparison:
    """Return the mean difference of two rows' scores, with its interval where the seeds allow one.

    What varies by itself is a seed or, in a row over several pretrainings, the mean over one pretraining's runs. With
    two or more of them in common, of one kind, the difference is taken one by one. Else it is the difference of the two
    means, with Welch's interval where both have three or more.
    """
    if not baseline:
        return Comparison(note="the baseline has no such score")
    common = sorted(scores.keys() & baseline.keys())
    mine, other = ({draw: side[draw] for draw in common} for side in (scores, baseline))
    theirs = units(other)
    pairs = [(ours, theirs[key]) for key, ours in units(mine).items()]
    if len(pairs) < PAIRS_NEEDED:
        return _of_means(scores, baseline, len(pairs))
    paired = [one - other_one for one, other_one in pairs]
    interval = _interval(paired_t(paired), f"paired t, n = {_n(mine, len(pairs))}")
    notes = [NO_VARIANCE] if interval.p is None else []
    if len(common) < max(len(scores), len(baseline)):
        every = ", ".join(draw.words if draw.before else str(draw.seed) for draw in common)
        notes.append(f"over the seeds in common: {every}")
    return Comparison(statistics.fmean(paired), interval, "; ".join(notes))


NO_VARIANCE = "no variance over seeds"


def _n(scores: Mapping[Draw, float], count_of_units: int) -> str:
    """Return n in words: of seeds the number alone, of pretrainings also how many seeds each has."""
    if not any(draw.before for draw in scores):
        return str(count_of_units)
    sizes = sorted(Counter(draw.before for draw in scores).values())
    each = f"{sizes[0]}" if sizes[0] == sizes[-1] else f"{sizes[0]} to {sizes[-1]}"
    return f"{count_of_units} pretrainings x {each} {'seed' if each == '1' else 'seeds'}"


def _of_means(scores: Mapping[Draw, float], baseline: Mapping[Draw, float], common: int) -> Comparison:
    ours, theirs = list(units(scores).values()), list(units(baseline).values())
    delta = statistics.fmean(ours) - statistics.fmean(theirs)
    sides = f"{_n(scores, len(ours))} and {_n(baseline, len(theirs))}"
    if min(len(ours), len(theirs)) < SEEDS_NEEDED:
        here = f"n = {sides}" if "pretrainings" in sides else f"{count(common, 'seed')} in common"
        return Comparison(
            delta, None, f"no interval: {here}, {PAIRS_NEEDED} pairs are needed, or {SEEDS_NEEDED} of each"
        )
    interval = _interval(welch_t(ours, theirs), f"Welch's t, n = {sides}")
    return Comparison(delta, interval, NO_VARIANCE if interval.p is None else "")


def _interval(found: Estimate, method: str) -> Interval:
    p = float(found.p)
    return Interval(float(found.low), float(found.high), None if math.isnan(p) else p, method)


def methods(comparisons: Iterable[Comparison]) -> str:
    """Return, each once, by what methods the intervals of several differences were computed; empty without any."""
    return "; ".join(dict.fromkeys(one.interval.method for one in comparisons if one.interval is not None))
