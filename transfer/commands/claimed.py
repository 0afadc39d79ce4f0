"""What the verbs share that make a run of a transfer: the run's id and claim, and its scores in words."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, Literal

from benchmarks.catalogue.tasks import Task
from benchmarks.config import Recipe
from benchmarks.runs.command import claim
from benchmarks.runs.identity import transfer_id
from benchmarks.runs.record import RunRecord, TaskUse
from transfer.adapter import Adapter, Transfer
from transfer.sources.source import Source


def claim_transfer(
    verb: Literal["transfer", "evaluate"],
    argv: Sequence[str],
    args: argparse.Namespace,
    task: Task,
    adapter: Adapter,
    recipe: Recipe[Any],
    source: Source,
) -> Transfer | None:
    """Find the data and claim the run; return what is to be done, or None where it is done already.

    Raises UserError where the data are missing or unfit.
    """
    data = adapter.find_data(task, recipe.config)
    digest, use = recipe.config.identity_digest(), TaskUse(name=task.name, version=task.version)
    identity = transfer_id(recipe.name, digest, str(data.fingerprint), args.seed, use, source.use)
    work = claim(verb, argv, args, recipe, data.root, data.fingerprint, identity)
    return None if work is None else Transfer(task, source, work, data)


def scores_of(record: RunRecord) -> str:
    """Return the record's scores in words."""
    return ", ".join(f"{name} {value.last:.2f}" for name, value in record.metrics.items())
