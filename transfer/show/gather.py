"""Which runs stand side by side on a sheet, under which names, and the sheet that is made of them."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.catalogue.task import Task
from benchmarks.catalogue.tasks import TASKS
from benchmarks.errors import UserError
from benchmarks.runs.find import FoundRun
from benchmarks.runs.folder import RunFolder
from benchmarks.runs.record import RunRecord
from transfer.adapter import adapter_for
from transfer.evaluate.rebuild import FinishedRun
from transfer.show.classes import SeenClasses
from transfer.show.saved import predictions_of
from transfer.show.shown import Seen, Sheet, ShownRun, drawn

MOST_RUNS = 12
CANDIDATES = 200
"""Of how many images, drawn by the seed, those are chosen on which segmentation maps or objects differ most: where
nothing was saved, models must predict each of them."""


@dataclass(frozen=True)
class Wish:
    """What a person asked to see."""

    images: int
    seed: int
    disagree: bool
    least_score: float
    device: str
    roots: Mapping[str, str]
    """Where the data of a task lie now, by the task's name."""


@dataclass(frozen=True)
class SameData:
    """Finished runs of one task on the same data."""

    task: Task
    runs: tuple[FoundRun, ...]
    notes: tuple[str, ...]

    def shown(self) -> tuple[ShownRun, ...]:
        """Return the runs under the names that they have on the sheet. Raises UserError where a library is missing."""
        adapter = adapter_for(self.task)
        named = zip(_names([each.record for each in self.runs]), self.runs, strict=True)
        return tuple(
            ShownRun(name, FinishedRun(RunFolder(each.folder), each.record, self.task, adapter)) for name, each in named
        )


def grouped(found: Iterable[FoundRun], task: str | None, several_draws: bool = False) -> list[SameData]:
    """Return the finished transfers by task and data, in the catalogue's order; `task` keeps only that one's.

    Those measured over several draws of labels are left out, unless `several_draws`: they have no one prediction of an
    image, but they have an encoder.
    """
    groups: dict[tuple[str, int, str], dict[tuple[str, str], FoundRun]] = defaultdict(dict)
    for each in found:
        record = each.record
        finished = record.kind == "transfer" and record.status == "completed" and record.encoder is not None
        finished = finished and (several_draws or record.draws is None)
        if finished and record.task and record.task.name in TASKS and task in (None, record.task.name):
            key = (record.task.name, record.task.version, record.data.fingerprint)
            groups[key].setdefault((record.run_id, _label(record)), each)
    ordered = sorted(groups, key=lambda key: (list(TASKS).index(key[0]), *key[1:]))
    return [_same_data(TASKS[key[0]], list(groups[key].values())) for key in ordered]


def _same_data(task: Task, found: Sequence[FoundRun]) -> SameData:
    """Take one run of each encoder and recipe, that of the lowest seed; the best score comes first, as in reports."""
    first: dict[tuple[str, str, str | None], FoundRun] = {}
    for each in sorted(found, key=lambda each: (each.record.seed, each.record.run_id)):
        first.setdefault((_label(each.record), each.record.recipe.digest, _sha256(each.record)), each)
    kept = sorted(first.values(), key=lambda each: (*_rank(task, each.record), each.record.run_id))
    notes = []
    if len(first) < len(found):
        notes.append(f"Of {len(found)} runs those with each encoder's lowest seed are shown.")
    if len(kept) > MOST_RUNS:
        notes.append(f"{len(kept) - MOST_RUNS} more runs are left out: a sheet has {MOST_RUNS} at most.")
    return SameData(task, tuple(kept[:MOST_RUNS]), tuple(notes))


def _label(record: RunRecord) -> str:
    return "" if record.encoder is None else record.encoder.label


def _sha256(record: RunRecord) -> str | None:
    return None if record.encoder is None else record.encoder.sha256


def _rank(task: Task, record: RunRecord) -> tuple[bool, float]:
    value = record.metrics.get(task.primary_metric)
    sign = -1 if task.primary.higher_is_better else 1
    return value is None, 0.0 if value is None else sign * value.last


def _names(records: Sequence[RunRecord]) -> list[str]:
    """Return the encoders' labels; where several share one, with the recipe and, if need be, the run's id."""
    names = [_label(record) for record in records]
    for marks in ([record.recipe.name for record in records], [record.run_id[-6:] for record in records]):
        counts = Counter(names)
        names = [f"{name}, {mark}" if counts[name] > 1 else name for name, mark in zip(names, marks, strict=True)]
    return names


def sheet_of(group: SameData, wish: Wish) -> Sheet:
    """Return what is shown of a task. Raises UserError where its data or predictions are missing or are other ones."""
    if wish.disagree and len(group.runs) < 2:
        remedy = "name runs of several encoders, or leave --disagree out"
        raise UserError.about("--disagree", f"{len(group.runs)} run of {group.task.name}", "two runs or more", remedy)
    overrides, runs = placed(group, wish), group.shown()
    run = runs[0].run
    config = run.config(overrides)
    data = run.data(config)
    with ExitStack() as held:
        seen = _seen(held, runs, data, config, overrides, wish)
        if not seen.names:
            rule = f"at least one test {seen.noun} that every run has predicted"
            raise UserError.about(f"predictions of {group.task.name}", "(none)", rule, "show fewer runs at a time")
        positions = seen.choose(wish.images, wish.seed, disagree=wish.disagree, runs=len(runs))
        examples = tuple(seen.example(position) for position in positions)
    how = "on which the runs differ most" if wish.disagree else f"drawn with seed {wish.seed}"
    scored = (f"Objects of a score of {wish.least_score:g} or more.",) if group.task.kind == "detection" else ()
    notes = (f"{len(examples)} of {len(data.test)} test {seen.noun}s, {how}.", *scored, *group.notes)
    names = tuple(each.name for each in runs)
    return Sheet(group.task.name, seen.noun, names, examples, tuple(seen.legend), tuple(seen.confusions), notes)


def placed(group: SameData, wish: Wish) -> tuple[str, ...]:
    """Return the overrides that say where the data of a task lie now."""
    root = wish.roots.get(group.task.name)
    return () if root is None else (f"data.root={json.dumps(root)}",)


def _seen(
    held: ExitStack, runs: Sequence[ShownRun], data: Any, config: Any, overrides: Sequence[str], wish: Wish
) -> Seen:
    kind = runs[0].run.task.kind
    if kind in ("classification", "video"):
        return SeenClasses(data, runs, getattr(config.data, "decoder", "auto"))
    if kind == "multilabel":
        from transfer.show.labels import SeenLabels

        return SeenLabels(data, runs)
    if kind == "correspondence":
        from transfer.show.keypoints import SeenKeypoints

        return SeenKeypoints(data, runs)
    from transfer.show.depths import SeenDepths, depth_names
    from transfer.show.maps import SeenMaps, scene_names
    from transfer.show.objects import SeenObjects, picture_names

    names_of: dict[str, Callable[[Any], dict[str, int]]]
    names_of = {"segmentation": scene_names, "detection": picture_names, "depth": depth_names}
    everything = names_of[kind](data)
    candidates = drawn(everything, wish.seed)[: max(CANDIDATES, wish.images) if wish.disagree else wish.images]
    wanted = [data.test[everything[name]] for name in candidates]
    folders: list[Path] = []
    for each in runs:
        own = each.run.record.recipe.resolved
        on = [f"{part}.device={wish.device}" for part in ("training", "inference") if part in own]
        folders.append(held.enter_context(predictions_of(each, data, wanted, [*overrides, *on])))
    if kind == "detection":
        return SeenObjects(data, folders, candidates, wish.least_score)
    return (SeenMaps if kind == "segmentation" else SeenDepths)(data, folders, candidates)
