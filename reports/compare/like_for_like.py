"""Like for like: which rows may be compared with one another, and which fields of their recipes differ."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from benchmarks.runs.record import RecipeUse
from reports.compare.score_difference import BASELINE, Comparison, difference
from reports.records.architectures import architecture_name
from reports.records.rows import Row
from reports.text import count

FIELDS_NAMED = 3


def compare(row: Row, baselines: Sequence[Row], metric: str) -> Comparison:
    """Compare `row` by `metric` with that one of `baselines` (rows of one label) which agrees in all conditions.

    Where several do, it is the one of the same architecture.
    """
    if row in baselines:
        return BASELINE
    reasons = [list(unfair_because(row, baseline)) for baseline in baselines]
    fair = [baseline for baseline, why in zip(baselines, reasons, strict=True) if not why]
    ours = architecture_name(row.architecture)
    fair = [baseline for baseline in fair if architecture_name(baseline.architecture) == ours] or fair
    if len(fair) == 1:
        if (sets := row.added_test_sets(metric)) != (others := fair[0].added_test_sets(metric)):
            return Comparison(note=f"other test set: {_listed(sets)}, baseline {_listed(others)}")
        return difference(row.scores(metric), fair[0].scores(metric))
    if fair:
        encoders = ", ".join((row.encoder.sha256 or row.encoder.reference)[:12] for row in fair)
        return Comparison(note=f"{len(fair)} baselines would do ({encoders}): give them labels of their own")
    nearest = min(reasons, key=len)
    return Comparison(note="; ".join(nearest))


def _listed(sets: Collection[str]) -> str:
    return " and ".join(sorted(sets)) or "none that was added"


def unfair_because(row: Row, baseline: Row) -> Iterator[str]:
    """Yield, in words, everything that makes the comparison of `row` with `baseline` unfair."""
    ours, theirs = row.conditions, baseline.conditions
    if row.trained_elsewhere or baseline.trained_elsewhere:
        yield "trained elsewhere: no record holds the recipe"
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
