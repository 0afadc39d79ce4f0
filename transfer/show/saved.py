"""The files that dense tasks' predictions are saved as: those of a run, or made anew for some images by its model."""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.engine.watch.stop import StopRequest
from benchmarks.errors import UserError
from transfer.show.shown import ShownRun


@contextlib.contextmanager
def predictions_of(each: ShownRun, data: Any, wanted: Sequence[Any], overrides: Sequence[str]) -> Iterator[Path]:
    """Yield a folder with a run's predictions of at least the `wanted` test samples.

    It is the run's own, where it saved them (`testing.save_predictions`), or else one that its model writes now from
    its last checkpoint. Raises UserError, saying what to do, where neither is possible.
    """
    run = each.run
    if run.folder.predicted.is_dir():
        yield run.folder.predicted
        return
    config = run.config(overrides)
    problem_type = run.adapter.problem(config)
    if problem_type is None:
        rule = "saved with the scores, as nothing was trained that a checkpoint could predict with"
        remedy = f"score the model on {run.task.name} again with save_predictions=true"
        raise UserError.about(f"predictions of {each.name}", str(run.folder.predicted), rule, remedy)
    with tempfile.TemporaryDirectory() as made:
        _predict(each, problem_type, config, dataclasses.replace(data, test=list(wanted)), Path(made))
        yield Path(made)


def _predict(each: ShownRun, problem_type: type[Any], config: Any, data: Any, folder: Path) -> None:
    from benchmarks.engine.processes.exchange import joined
    from transfer.evaluate.finished import last_checkpoint, restore

    run = each.run
    try:
        checkpoint = last_checkpoint(run.folder, run.record)
    except UserError as error:
        rule = "predictions on disk: testing.save_predictions=true writes them at a run's end"
        raise UserError(f"{error}\n  (or, without a checkpoint, {rule})") from None
    with ExitStack() as held:
        held.enter_context(joined())
        held.enter_context(StopRequest())
        problem = problem_type(run.transfer(config, None, ("mimbench", "show"), data))
        problem.place()
        restore(problem, checkpoint)
        problem.save_predictions(folder)
