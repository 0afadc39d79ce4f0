"""Like for like: which rows may be compared with one another, and which fields of their recipes differ."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from benchmarks.runs.record import RecipeUse
from reports.compare.score_difference import BASELINE, Comparison, difference
from reports.records.architectures import architecture_name
from reports.records.rows import Row
from reports.text import count

FIELDS_NAMED = 3
MEASURED_BY = {
    "protocol",
    "adapters",
    "data",
    "interpolation",
    "inference",
    "testing",
    "image_size_px",
    "in_chans",
    "sampling",
}
"""Parts of a recipe that say on what, and how, a model is measured; the others say how it is built and trained."""


BEIT = {"beit", "huggingface-beit"}
"""The layouts of BEiT's own files, which records name as the method."""
OF_BEFORE = "by a version that took ImageNet's normalisation for BEiT where no file states one"


class Against(NamedTuple):
    """The baseline that a row is compared with, and a mark of what is not alike in the two."""

    row: Row
    mark: str = ""


def compare(row: Row, baselines: Sequence[Row], metric: str) -> Comparison:
    """Compare `row` by `metric` with that one of `baselines` which agrees in all conditions, or else in all but recipes
    of which each is for its own start alone.

    Where several do, it is the one of the same architecture.
    """
    if row in baselines:
        return BASELINE
    found = against(row, baselines)
    if isinstance(found, Comparison):
        return found
    if (sets := row.added_test_sets(metric)) != (others := found.row.added_test_sets(metric)):
        return Comparison(note=f"other test set: {_listed(sets)}, baseline {_listed(others)}")
    return replace(difference(row.scores(metric), found.row.scores(metric)), mark=found.mark)


def against(row: Row, baselines: Sequence[Row]) -> Against | Comparison:
    """Return the baseline that `row` may be compared with, or the comparison that says why there is none."""
    alike = (baseline for baseline in baselines if baseline.conditions == row.conditions)
    fair = [Against(baseline) for baseline in alike if not any(unfair_because(row, baseline))]
    fair = fair or [Against(each, mark) for each in baselines if (mark := own_recipes(row, each)) is not None]
    ours = architecture_name(row.architecture)
    fair = [each for each in fair if architecture_name(each.row.architecture) == ours] or fair
    fair = [each for each in fair if each.row.collection == row.collection] or fair
    if len(fair) == 1:
        return fair[0]
    if fair:
        encoders = ", ".join((each.row.encoder.sha256 or each.row.encoder.reference)[:12] for each in fair)
        return Comparison(note=f"{len(fair)} baselines would do ({encoders}): give them labels of their own")
    nearest = min((list(unfair_because(row, baseline)) for baseline in baselines), key=len)
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
    yield from _other_reading(row, baseline)
    if ours.image_size_px != theirs.image_size_px:
        yield f"other image size: {ours.image_size_px} px, baseline {theirs.image_size_px} px"
    if ours.fingerprint != theirs.fingerprint:
        yield f"other data: fingerprint {ours.fingerprint}, baseline {theirs.fingerprint}"


def _other_reading(row: Row, baseline: Row) -> Iterator[str]:
    """Yield what makes two rows unlike in how images are normalised, or how the same encoder was built."""
    for each in (row, baseline):
        if each.encoder.method in BEIT and each.first.record.normalisation is None and not each.trained_elsewhere:
            yield f"{each.encoder.label} {OF_BEFORE}"
    if row.encoder.sha256 is None or row.encoder.sha256 != baseline.encoder.sha256:
        return
    if row.architecture != baseline.architecture:
        yield "other head of the same encoder: the versions that made them read its architecture in two ways"
    ours, theirs = (each.encoder.images for each in (row, baseline))
    if (ours and (ours.mean, ours.std)) != (theirs and (theirs.mean, theirs.std)):
        one, other = (each.stated_by if each else "ImageNet's or its layout's" for each in (ours, theirs))
        yield f"other normalisation of the same encoder's images: {one}, baseline {other}"


def own_recipes(row: Row, baseline: Row) -> str | None:
    """Return the mark of two rows of which one starts from random weights, each trained by a recipe for its own start.

    None where that is not so, or where more differs than how they were trained: task version, image size, data, or a
    field that says how they are measured. No recipe could be shared: a fine-tuning recipe makes a weak baseline of
    random weights, and one for random weights unlearns what was pretrained.
    """
    stages = [each.encoder.init_stage for each in (row, baseline)]
    fits = [[stage in _starts(each) for stage in stages] for each in (row, baseline)]
    alike = row.conditions._replace(recipe_digest="") == baseline.conditions._replace(recipe_digest="")
    elsewhere = row.trained_elsewhere or baseline.trained_elsewhere
    if stages.count("random") != 1 or fits != [[True, False], [False, True]] or not alike or elsewhere:
        return None
    changed = {change.field.partition(".")[0] for change in recipe_changes(row.recipe, baseline.recipe)}
    if changed & MEASURED_BY:
        return None
    return f"other recipe than {baseline.encoder.label}: {_trained(row)}, {baseline.encoder.label} {_trained(baseline)}"


def _starts(row: Row) -> list[Any]:
    """Return the stages of the encoders that a row's recipe is for; none where it names none."""
    stages = row.recipe.resolved.get("starts_from")
    return stages if isinstance(stages, list) else []


def _trained(row: Row) -> str:
    """Return how a row was trained, in words."""
    training = row.recipe.resolved.get("training")
    fields = training if isinstance(training, dict) else {}
    length = next((f", {fields[unit]} {unit}" for unit in ("epochs", "steps") if fields.get(unit)), "")
    verb = "trained from scratch" if row.encoder.init_stage == "random" else "fine-tuned"
    return f"{verb} by {row.recipe.name}{length}"


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
