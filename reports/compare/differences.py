"""Like for like: which rows may be compared, the difference to the baseline, and its interval over seeds."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.runs.record import RecipeUse
from reports.records.rows import Row
from reports.tables.cells import architecture_name
from reports.text import count

if TYPE_CHECKING:
    import numpy as np

TAILS = (0.025, 0.975)
EXACT_LIMIT = 100_000
RESAMPLES = 10_000
RNG_SEED = 0
SEEDS_NEEDED = 3
FIELDS_NAMED = 3


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


BASELINE = Comparison(note="baseline")


def compare(row: Row, baselines: Sequence[Row], metric: str) -> Comparison:
    """Compare `row` by `metric` with that one of `baselines` (rows of one label) which agrees in all conditions.

    Where several do, it is the one of the same architecture.
    """
    if row in baselines:
        return BASELINE
    reasons = [list(differences(row, baseline)) for baseline in baselines]
    fair = [baseline for baseline, why in zip(baselines, reasons, strict=True) if not why]
    ours = architecture_name(row.architecture)
    fair = [baseline for baseline in fair if architecture_name(baseline.architecture) == ours] or fair
    if len(fair) == 1:
        return difference(row.scores(metric), fair[0].scores(metric))
    if fair:
        encoders = ", ".join((row.encoder.sha256 or row.encoder.reference)[:12] for row in fair)
        return Comparison(note=f"{len(fair)} baselines would do ({encoders}): give them labels of their own")
    nearest = min(reasons, key=len)
    return Comparison(note="; ".join(nearest))


def differences(row: Row, baseline: Row) -> Iterator[str]:
    """Yield, in words, everything that makes the comparison of `row` with `baseline` unfair."""
    ours, theirs = row.conditions, baseline.conditions
    if ours.task_version != theirs.task_version:
        yield f"other task version: {ours.task_version}, baseline {theirs.task_version}"
    if ours.recipe_digest != theirs.recipe_digest:
        yield f"other recipe: {_recipe_difference(row, baseline)}"
    if ours.image_size_px != theirs.image_size_px:
        yield f"other image size: {ours.image_size_px} px, baseline {theirs.image_size_px} px"
    if ours.fingerprint != theirs.fingerprint:
        yield f"other data: fingerprint {ours.fingerprint}, baseline {theirs.fingerprint}"


def _recipe_difference(row: Row, baseline: Row) -> str:
    ours, theirs = row.recipe, baseline.recipe
    if ours.name != theirs.name:
        return f"{ours.name}, baseline {theirs.name}"
    changed = recipe_changes(ours, theirs)
    words = [f"{one.field} = {one.ours}, baseline {one.theirs}" for one in changed[:FIELDS_NAMED]]
    if len(changed) > FIELDS_NAMED:
        words.append(f"and {count(len(changed) - FIELDS_NAMED, 'more field')}")
    return "; ".join(words) or f"digest {ours.digest[:12]}, baseline {theirs.digest[:12]}"


class Change(NamedTuple):
    """A field that differs between two recipes; None where one has no such field."""

    field: str
    ours: Any
    theirs: Any


def recipe_changes(ours: RecipeUse, theirs: RecipeUse) -> list[Change]:
    """Return every field in which two recipes differ, apart from those that say where a run happened."""
    placement = {*ours.placement, *theirs.placement}
    return [change for change in changes(ours.resolved, theirs.resolved) if change.field not in placement]


def changes(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[Change]:
    """Return every field in which two nested mappings differ, by its dotted name."""
    mine, other = dict(_flat(ours)), dict(_flat(theirs))
    found = (Change(key, mine.get(key), other.get(key)) for key in sorted(mine | other))
    return [change for change in found if change.ours != change.theirs]


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, inner in value.items():
        if isinstance(inner, Mapping):
            yield from _flat(inner, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", inner


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
