"""What makes a run of a transfer: its data, its id and its claim."""

from __future__ import annotations

from typing import Any

from benchmarks.catalogue.task import Task
from benchmarks.config import Recipe
from benchmarks.runs.identity import transfer_id
from benchmarks.runs.record import TaskUse
from benchmarks.verbs.command import Placing, claim
from benchmarks.verbs.result import RunResult
from transfer.adapter import Adapter, Transfer
from transfer.sources.source import Source


def claim_transfer(
    command: tuple[str, ...], placing: Placing, task: Task, adapter: Adapter, recipe: Recipe[Any], source: Source
) -> Transfer | RunResult:
    """Find the data and claim the run; return what is to be done, or the run where it is done already.

    Raises UserError where the data are missing or unfit.
    """
    data = adapter.find_data(task, recipe.config)
    digest, use = recipe.config.identity_digest(), TaskUse(name=task.name, version=task.version)
    identity = transfer_id(recipe.name, digest, str(data.fingerprint), placing.seed, use, source.use)
    work = claim(command, placing, recipe, data.root, data.fingerprint, identity)
    return work if isinstance(work, RunResult) else Transfer(task, source, work, data)
