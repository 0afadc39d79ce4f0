"""Whether a record can be what its run wrote: it is held against itself, its log, and the tables beside it."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.catalogue.tasks import TASKS
from benchmarks.config import digest_of, without_fields
from benchmarks.runs.folder import RunFolder
from benchmarks.runs.identity import recorded_transfer_id
from benchmarks.runs.metrics_log import LastLines, last_lines
from benchmarks.runs.record import RecipeUse, RunRecord
from reports.records.recomputed import recomputed
from reports.records.traces import LOGGED_DIGITS, files_beside, logged_seconds, read_log
from reports.text import count

ROUNDING = 1e-6
"""How far a score computed again may be from the recorded one, in percent: sums are taken in another order."""
LEAST_TIME = 0.8
"""A run takes so much of the time of its steps at least, by the speeds in its log; set-up and evaluation add to it."""


def altered(
    folder: Path, record: RunRecord, again: Mapping[str, float] | None = None, log: bytes | None = None
) -> str | None:
    """Return what contradicts a completed run's record; None where nothing does.

    `again` are the scores that were computed again, and `log` is the run's log, where these were read already.
    """
    log = read_log(folder) if log is None else log
    if record.kind == "pretrain":
        return next(_of_pretraining(record, log), None)
    if again is None:
        again = recomputed(RunFolder(folder), files_beside(folder).names).scores
    return next(_contradictions(folder, record, again, log), None)


def _of_pretraining(record: RunRecord, log: bytes) -> Iterator[str]:
    yield from _of_recipe(record.recipe)
    for name, value in record.metrics.items():
        if value.last < 0:  # losses and distances
            yield f"{name} is {value.last}, and is never negative"
    yield from _of_logged(record, last_lines(log, set(record.metrics)))
    yield from _of_time(record, log)


def _contradictions(folder: Path, record: RunRecord, again: Mapping[str, float], log: bytes) -> Iterator[str]:
    yield from _of_identity(record)
    yield from _of_encoder(record)
    yield from _of_scores(record)
    ends = last_lines(log, set(record.metrics))
    yield from _of_log(record, ends)
    for name, value in again.items():
        if name in record.metrics and not math.isclose(value, record.metrics[name].last, rel_tol=0, abs_tol=ROUNDING):
            run = RunFolder(folder)
            drawn = run.predictions if record.draws is None else run.shots
            table = drawn if name in ("top1", "top5") else run.classes
            yield f"{name} is {record.metrics[name].last} in the record, {value} by {table.name}"
    yield from _unproved(record, {*ends.values, *again})
    yield from _of_time(record, log)


def _unproved(record: RunRecord, proved: Collection[str]) -> Iterator[str]:
    """Yield whether neither the log nor a table beside the record has its primary score."""
    assert record.task is not None, "only for transfers"
    if (primary := TASKS[record.task.name].primary_metric) not in proved:
        yield f"nothing proves its {primary}: neither metrics.jsonl has it, nor predictions.csv, nor classes.csv"


def _of_time(record: RunRecord, log: bytes) -> Iterator[str]:
    """Yield where the record has less time than the log: hours are part of what is compared."""
    training = record.recipe.resolved.get("training")
    batch_size = training.get("batch_size") if isinstance(training, dict) else None
    if not isinstance(batch_size, int) or not 0 < batch_size < 2**31:
        return
    times = [record.seconds]
    times += [record.steps * record.seconds_per_step] if record.seconds_per_step is not None else []
    times += [record.steps * batch_size / record.images_per_second] if record.images_per_second else []
    if (logged := logged_seconds(log, batch_size)) * LEAST_TIME > min(times):
        yield f"it took {min(times):.4g} seconds, and its steps {logged:.4g} by the speeds in metrics.jsonl"


def _of_identity(record: RunRecord) -> Iterator[str]:
    if (expected := recorded_transfer_id(record)) != record.run_id:
        yield f"its id is {record.run_id}, its contents make {expected}"
    yield from _of_recipe(record.recipe)
    size = record.recipe.resolved.get("image_size_px")
    if isinstance(size, int) and size != record.image_size_px:
        yield f"its images have {record.image_size_px} px, by its recipe {size}"


def _of_recipe(recipe: RecipeUse) -> Iterator[str]:
    if recipe.beside_digest is not None:
        try:
            digest = digest_of(without_fields(recipe.resolved, {*recipe.beside_digest, *recipe.placement}))
        except ValueError:
            yield "its recipe has a number that is not finite"
            return
        if digest != recipe.digest:
            yield f"its recipe's digest is {recipe.digest[:12]}, the recipe's fields make {digest[:12]}"


def _of_encoder(record: RunRecord) -> Iterator[str]:
    """Yield what random weights cannot have."""
    encoder = record.encoder
    if encoder is None or encoder.init_stage != "random":
        return
    if encoder.sha256 is not None or record.parents or encoder.history:
        yield "its encoder is said to be random, and came from a checkpoint"
    if encoder.epochs:
        yield f"its encoder is said to be random, and to have had {count(encoder.epochs, 'epoch')}"
    if record.load_report is not None and record.load_report.loaded:
        yield f"its encoder is said to be random, and {record.load_report.loaded} tensors were loaded"


def _of_scores(record: RunRecord) -> Iterator[str]:
    assert record.task is not None, "only for transfers"
    for metric in TASKS[record.task.name].metrics:
        value = record.metrics.get(metric.name)
        if value is None:
            continue
        low, high = metric.bounds
        for one in filter(lambda one: one is not None and not low <= one <= high, (value.last, value.best)):
            yield f"{metric.name} is {one}, and lies between {low:g} and {high:g}"
        sign = 1 if metric.higher_is_better else -1
        if value.best is not None and sign * (value.best - value.last) < 0:
            yield f"{metric.name} is {value.last} after the last epoch, {value.best} after the best"
    first, best = record.metrics.get("top1"), record.metrics.get("top5")
    if first is not None and best is not None and best.last < first.last - ROUNDING:
        yield f"top5 is {best.last}, less than its top1 of {first.last}"


def _of_log(record: RunRecord, log: LastLines) -> Iterator[str]:
    training = record.recipe.resolved.get("training")
    if not isinstance(training, dict):  # nearest neighbours, and models that others trained
        return
    if log.step is None:
        yield "it has no log (metrics.jsonl)"
    yield from _of_logged(record, log)
    yield from _of_steps(record, training, log)


def _of_logged(record: RunRecord, log: LastLines) -> Iterator[str]:
    for name, value in log.values.items():
        if not math.isclose(value, record.metrics[name].last, rel_tol=LOGGED_DIGITS, abs_tol=1e-12):
            yield f"{name} is {record.metrics[name].last} in the record, {value} at the end of metrics.jsonl"


def _of_steps(record: RunRecord, training: dict[str, Any], log: LastLines) -> Iterator[str]:
    """Yield where steps and epochs of record, recipe and log are not the same; skipped steps count as steps."""
    if log.step is not None and log.step != record.steps:
        yield f"it took {record.steps} steps, and its log ends at {log.step}"
    if log.total_steps is not None and log.total_steps != record.steps:
        yield f"it took {record.steps} steps of {log.total_steps} that its log says were planned"
    steps, epochs = training.get("steps"), training.get("epochs")
    if isinstance(steps, int) and steps != record.steps:
        yield f"it took {record.steps} steps, its recipe plans {steps}"
    elif steps is None and isinstance(epochs, int) and not math.isclose(log.epoch or 0.0, epochs, rel_tol=1e-6):
        yield f"its recipe plans {epochs} epochs, its log ends after {log.epoch or 0:g}"
    for name, value in record.metrics.items():
        if isinstance(epochs, int) and (value.best_epoch or 0) > max(1, epochs):
            yield f"the best epoch of {name} is {value.best_epoch} of {epochs}"
    if outside := [step for step in record.skipped_steps if step >= record.steps]:
        yield f"step {outside[0]} was skipped of {record.steps} steps"
