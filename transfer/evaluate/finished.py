"""A finished run on further test sets: its model comes from its last checkpoint, and proves itself on its own test set.

The proof is the score on the test set that the run was completed with: it must be the record's, to the digit, before
anything else is measured. What is measured is added to the run's own record and to its table of test sets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from benchmarks import ranks
from benchmarks.engine.checkpoint import Checkpoint, Checkpoints, restore_model
from benchmarks.engine.device import device_name
from benchmarks.engine.processes.exchange import joined
from benchmarks.engine.watch.stop import StopRequest
from benchmarks.errors import UserError, WorkFailed
from benchmarks.runs.folder import Run, RunFolder, reopen
from benchmarks.runs.record import AddedTestSet, DataUse, MetricValue, RunRecord, now
from benchmarks.verbs.result import scores_in_words
from transfer.adapter import Data, Transfer
from transfer.run import TransferProblem
from transfer.scores import declared, write_test_sets

EXACT = 1e-4
"""The difference in points below which two scores are the same: tables show four digits of them."""


@dataclass(frozen=True)
class Wanted:
    """A test set that is to be added to a run."""

    name: str
    data: Data
    """As the adapter of the task's kind found it."""
    use: DataUse
    overrides: tuple[str, ...]


def add_test_sets(
    transfer: Transfer,
    record: RunRecord,
    problem_type: type[TransferProblem[Any, Any]],
    wanted: Sequence[Wanted],
    tolerance: float,
) -> RunRecord:
    """Score the finished run on each of `wanted` and add that to its record and its files; return the record.

    `transfer` is the run's own, on its own data. Each test set is on record as soon as it is measured, so that after a
    stop the same command goes on with the next. Raises WorkFailed where the model does not reproduce the recorded score
    within `tolerance` points, UserError where the run no longer has its last checkpoint.
    """
    checkpoint = last_checkpoint(transfer.work.folder, record)
    with ExitStack() as held:
        held.enter_context(joined())
        run = held.enter_context(reopen(transfer.work.folder))
        held.enter_context(StopRequest())
        problem = problem_type(transfer)
        problem.place()
        restore(problem, checkpoint)
        reproduced = _reproduced(problem, record, tolerance)
        for test_set in wanted:
            _add(problem, test_set, reproduced, run)
        return run.record


def last_checkpoint(folder: RunFolder, record: RunRecord) -> Checkpoint:
    """Return the checkpoint after the last step. Raises UserError where there is none."""
    checkpoint = Checkpoints(folder.checkpoints).latest()
    if checkpoint is None or checkpoint.step != record.steps:
        found = "(none)" if checkpoint is None else f"after step {checkpoint.step}"
        rule = f"the one after the last step ({record.steps}), which holds the model with its head"
        raise UserError.about(f"checkpoint of {folder.path}", found, rule, "put the run's checkpoints/ back")
    return checkpoint


def restore(problem: TransferProblem[Any, Any], checkpoint: Checkpoint) -> None:
    """Give the problem's model the weights of a checkpoint. Raises WorkFailed where they are another model's."""
    try:
        restore_model(checkpoint, problem.state)
    except RuntimeError as error:
        raise WorkFailed(
            f"{checkpoint.path} is not of the model that the run's recipe builds here: {error}\n"
            "  remedy: evaluate with the versions of packages in the run's record"
        ) from None


def _reproduced(problem: TransferProblem[Any, Any], record: RunRecord, tolerance: float) -> dict[str, float]:
    """Return the recorded metrics as measured again on the run's own test set. Raises WorkFailed where one differs.

    The tolerance is for another kind of device or other versions of packages, whose sums differ in their last bits.
    """
    measured = problem.score_own_test_set()
    found = {name: value for name, value in measured.items() if name in record.metrics}
    pairs = [f"{name} {value:.4f}, on record {record.metrics[name].last:.4f}" for name, value in found.items()]
    if ranks.is_main():
        print(f"on its own test set: {'; '.join(pairs)}")
    if any(abs(value - record.metrics[name].last) > max(tolerance, EXACT) for name, value in found.items()):
        raise WorkFailed(
            f"the model of {record.run_id} does not reproduce its scores: {'; '.join(pairs)} "
            f"(measured on {record.environment.device}, here on {device_name(problem.device)})\n"
            "  remedy: measure on the device and with the packages of its record, or allow a difference in points with "
            "--tolerance, which the record then shows"
        )
    return found


def _add(problem: TransferProblem[Any, Any], wanted: Wanted, reproduced: Mapping[str, float], run: Run) -> None:
    before = len(problem.unreadable.names)
    problem.data = wanted.data
    scores = problem.score_test_set(wanted.name)
    added = AddedTestSet(
        name=wanted.name,
        overrides=wanted.overrides,
        data=wanted.use.model_copy(update={"unreadable": tuple(problem.unreadable.names[before:])}),
        scores=scores,
        reproduced=dict(reproduced),
        device=device_name(problem.device),
        command=problem.transfer.work.command,
        measured_at=now(),
    )
    known: dict[str, dict[str, float]] = {}
    for name, its in (*((each.name, each.scores) for each in run.record.added_test_sets), (wanted.name, scores)):
        known[name] = {**known.get(name, {}), **its}
    task_metrics = declared(known, problem.transfer.task)
    metrics = run.record.metrics | {name: MetricValue(last=value) for name, value in task_metrics.items()}
    if ranks.is_main():
        write_test_sets(run.folder, {wanted.name: scores})
        print(f"added {wanted.name}: {scores_in_words(scores, run.folder.number_of_classes)}")
    run.add(metrics=metrics, added_test_sets=(*run.record.added_test_sets, added))
