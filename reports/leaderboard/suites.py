"""Suites as rows: the mean over a suite's data sets of one encoder's scores by one recipe, and each of the parts.

A suite's row goes through the same comparison as any other. It stands for runs on all of the suite's data sets, so its
data are all of theirs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from benchmarks.catalogue.suite_tasks import SUITE_TASKS
from benchmarks.catalogue.suites import TASKS_OF
from benchmarks.catalogue.tasks import TASKS
from benchmarks.config import digest_of
from benchmarks.runs.record import MetricValue, TaskUse
from reports.records.rows import Row, TransferRun
from reports.text import count


@dataclass(frozen=True)
class Incomplete:
    """An encoder that was not measured on all of a suite's data sets by one recipe, and so has no mean."""

    suite: str
    label: str
    recipe: str
    missing: tuple[str, ...]
    twice: tuple[str, ...]

    @property
    def words(self) -> str:
        parts = len(TASKS_OF[self.suite])
        lacks = [f"{count(len(self.missing), 'data set')} of {parts} not measured ({', '.join(self.missing)})"]
        several = [f"several rows of {', '.join(self.twice)}"]
        why = "; ".join((lacks if self.missing else []) + (several if self.twice else []))
        return f"{self.suite} has no mean of {self.label} by {self.recipe}: {why}"


def suite_rows(rows: Sequence[Row]) -> Iterator[Row | Incomplete]:
    """Yield a row for each encoder and recipe that measured a suite, or why there is none."""
    for suite, parts in TASKS_OF.items():
        names, alone = [part.name for part in parts], {part.name for part in parts if part.own_recipe is not None}
        for by_task in _measured([row for row in rows if row.task in names], alone):
            twice = tuple(name for name in names if len(by_task.get(name, ())) > 1)
            missing = tuple(name for name in names if name not in by_task)
            first = next(iter(by_task.values()))[0]
            if twice or missing:
                yield Incomplete(suite, first.encoder.label, first.recipe.name, missing, twice)
            else:
                yield _row(suite, {name: by_task[name][0] for name in names})


def _measured(rows: Sequence[Row], alone: Collection[str]) -> Iterator[Mapping[str, list[Row]]]:
    """Yield the rows that a mean may be taken over, by task: those of an encoder by one recipe.

    Those of the tasks that are `alone` in having a recipe of their own go with each of the others.
    """
    recipes: dict[tuple[str, ...], dict[str, dict[str, list[Row]]]] = defaultdict(lambda: defaultdict(dict))
    own: dict[tuple[str, ...], dict[str, list[Row]]] = defaultdict(dict)
    for row in rows:
        by_task = own[_encoder(row)] if row.task in alone else recipes[_encoder(row)][row.recipe.name]
        by_task.setdefault(row.task, []).append(row)
    for encoder in dict.fromkeys([*recipes, *own]):
        for by_task in recipes[encoder].values() or [{}]:
            yield {**by_task, **own[encoder]}


def _encoder(row: Row) -> tuple[str, ...]:
    """Return what rows of one encoder share."""
    encoder = row.encoder
    identity = encoder.sha256 or encoder.reference
    return row.collection, encoder.label, identity, digest_of(encoder.architecture), encoder.init_stage


def _row(suite: str, parts: Mapping[str, Row]) -> Row:
    """Return the row over rows of all data sets, with the seeds that all of them have."""
    runs = [{row.draw(run): run for run in row.runs} for row in parts.values()]
    shared = [draw for draw in runs[0] if all(draw in each for each in runs)]
    return Row(tuple(_run(suite, dict(zip(parts, (each[draw] for each in runs), strict=True))) for draw in shared))


def _run(suite: str, parts: Mapping[str, TransferRun]) -> TransferRun:
    """Return runs of one seed on all data sets as one: the first of them, with the scores and the time of all."""
    first, records = next(iter(parts.values())), [run.record for run in parts.values()]
    scores = {name: run.record.metrics[TASKS[name].primary_metric].last for name, run in parts.items()}
    digests = [record.data.fingerprint for record in records]
    data = first.record.data.model_copy(
        update={
            "fingerprint": f"{len(records)} data sets, {digest_of(digests)[:16]}",
            "images": sum(record.data.images for record in records),
        }
    )
    recipe = first.record.recipe.model_copy(update={"digest": digest_of([record.recipe.digest for record in records])})
    task = TaskUse(name=suite, version=SUITE_TASKS[suite].version)
    update = {
        "task": task,
        "data": data,
        "recipe": recipe,
        "metrics": {
            name: MetricValue(last=value) for name, value in {"mean": fmean(scores.values()), **scores}.items()
        },
        "seconds": sum(record.seconds for record in records),
        "images_per_second": None,
        "added_test_sets": (),
    }
    return replace(first, record=first.record.model_copy(update=update), task=task)
