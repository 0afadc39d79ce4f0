"""Two encoders, or two pipelines, side by side: what differs in them, how scores differ, and whether by chance."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.catalogue.tasks import TASKS
from benchmarks.errors import UserError, did_you_mean
from benchmarks.history import in_words
from benchmarks.runs.find import FoundRun, find_runs
from benchmarks.runs.record import RecipeUse
from reports.compare.by_class import ByClass, by_class
from reports.compare.by_image import Disagreement, by_image
from reports.compare.like_for_like import Change, changes, own_recipes, recipe_changes, unfair_because
from reports.compare.score_difference import Comparison, difference
from reports.records.collect import Collected, collect
from reports.records.pretrainings import of_pretrainings, origins, parents_nearby, pretraining_of
from reports.records.rows import Row

NOT_COMPARABLE = "not comparable"


@dataclass(frozen=True)
class Score:
    """A metric of both rows, and their difference."""

    metric: str
    ours: Row
    theirs: Row
    comparison: Comparison


@dataclass(frozen=True)
class Pairing:
    """Two rows of one task."""

    ours: Row
    theirs: Row
    unfair: tuple[str, ...]
    """The reasons why no difference may be taken; empty where it may."""
    mark: str
    """What is not alike in the two, where the difference is taken all the same."""
    recipe: tuple[Change, ...]
    encoder: tuple[Change, ...]
    pretraining: tuple[Change, ...] | None
    """Differences of the pretrainings' recipes; None where not both are at hand."""
    environment: tuple[Change, ...]
    scores: tuple[Score, ...]
    classes: ByClass | str
    """The comparison by class, or the reason in words why there is none; likewise for images."""
    images: tuple[Disagreement, ...] | str


@dataclass(frozen=True)
class SideBySide:
    """Everything that could be paired, and what could not."""

    names: tuple[str, str]
    """The names of A and B, as they were asked for."""
    pairings: tuple[Pairing, ...]
    alone: tuple[str, ...]
    """Rows of one side that have no partner, in words."""
    sides: tuple[Collected, Collected]


def side_by_side(ours: str, theirs: str, within: Sequence[str]) -> SideBySide:
    """Compare two places with runs or, `within` some runs, two labels of encoders.

    Raises UserError for a place or a label that is not there.
    """
    if within:
        everything = collect(find_runs(within))
        sides = (_labelled(everything, ours, "A"), _labelled(everything, theirs, "B"))
    else:
        sides = (collect(find_runs([ours])), collect(find_runs([theirs])))
    pairs, alone = _paired(sides[0].rows, sides[1].rows)
    known = origins(run for side in sides for run in (*side.pretrainings, *of_pretrainings(parents_nearby(side))))
    return SideBySide((ours, theirs), tuple(_pairing(a, b, known) for a, b in pairs), tuple(alone), sides)


def _labelled(everything: Collected, label: str, argument: str) -> Collected:
    labels = {row.encoder.label for row in everything.rows}
    rows = tuple(row for row in everything.rows if row.encoder.label == label)
    if not rows:
        raise UserError.about(argument, label, "the label of an encoder in --in RUNS", did_you_mean(label, labels))
    known = origins(everything.pretrainings)
    own = {run.record.run_id: run for row in rows if (run := _pretrained(row, known)) is not None}
    left_out = tuple(one for one in everything.left_out if one.label in (label, None))
    return Collected(rows, tuple(own.values()), left_out)


def _paired(ours: Sequence[Row], theirs: Sequence[Row]) -> tuple[list[tuple[Row, Row]], list[str]]:
    """Pair the rows of each task: equal conditions and label first, then one of them equal, then what is left alone."""
    pairs, left = [], {"A": list(ours), "B": list(theirs)}
    keys = (
        lambda row: (row.task, row.encoder.label, row.conditions),
        lambda row: (row.task, row.encoder.label),
        lambda row: (row.task, row.conditions),
        lambda row: row.task,
    )
    for key in keys:
        groups: dict[Any, dict[str, list[Row]]] = defaultdict(lambda: {"A": [], "B": []})
        for side, rows in left.items():
            for row in rows:
                groups[key(row)][side].append(row)
        found = [(one["A"][0], one["B"][0]) for one in groups.values() if len(one["A"]) == len(one["B"]) == 1]
        pairs += found
        for place, side in enumerate(("A", "B")):
            taken = {id(pair[place]) for pair in found}
            left[side] = [row for row in left[side] if id(row) not in taken]
    alone = [
        f"only in {side}: {row.encoder.label} on {row.task}, recipe {row.recipe.name}"
        for side, rows in left.items()
        for row in rows
    ]
    return pairs, alone


def _pairing(ours: Row, theirs: Row, known: Mapping[str, FoundRun]) -> Pairing:
    mark = own_recipes(ours, theirs)
    unfair = () if mark else tuple(why.replace("baseline", "B") for why in unfair_because(ours, theirs))
    return Pairing(
        ours,
        theirs,
        unfair,
        mark or "",
        _recipe_changes(ours.recipe, theirs.recipe),
        tuple(changes(_encoder(ours), _encoder(theirs))),
        _pretraining(ours, theirs, known),
        tuple(changes(_environment(ours), _environment(theirs))),
        tuple(_scores(ours, theirs, comparable=not unfair)),
        NOT_COMPARABLE if unfair else by_class(ours, theirs),
        NOT_COMPARABLE if unfair else by_image(ours, theirs),
    )


def _encoder(row: Row) -> dict[str, Any]:
    history = row.encoder.history
    return {**row.encoder.model_dump(mode="json"), "history": None if history is None else in_words(history) or "none"}


def _environment(row: Row) -> dict[str, Any]:
    return row.first.record.environment.model_dump(mode="json")


def _pretraining(ours: Row, theirs: Row, known: Mapping[str, FoundRun]) -> tuple[Change, ...] | None:
    mine, other = _pretrained(ours, known), _pretrained(theirs, known)
    return None if mine is None or other is None else _recipe_changes(mine.record.recipe, other.record.recipe)


def _pretrained(row: Row, known: Mapping[str, FoundRun]) -> FoundRun | None:
    """Return the last pretraining that led to the row's encoder, whatever was trained on tasks after it."""
    nearest = (known[name] for name in reversed(row.first.record.parents) if name in known)
    return next(nearest, None) or pretraining_of(row, known)


def _recipe_changes(ours: RecipeUse, theirs: RecipeUse) -> tuple[Change, ...]:
    """Return what differs; recipes of one digest differ at most in where they ran, which is no difference."""
    return () if ours.digest == theirs.digest else tuple(recipe_changes(ours, theirs))


def _scores(ours: Row, theirs: Row, *, comparable: bool) -> Iterator[Score]:
    for metric in TASKS[ours.task].metrics:
        mine, other = ours.scores(metric.name), theirs.scores(metric.name)
        if mine and other:
            same = comparable and ours.added_test_sets(metric.name) == theirs.added_test_sets(metric.name)
            comparison = difference(mine, other) if same else Comparison(note=NOT_COMPARABLE)
            yield Score(metric.name, ours, theirs, comparison)
