"""A row of a report: one encoder under one set of conditions, over its seeds."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from benchmarks.config import digest_of
from benchmarks.encoders import Architecture
from benchmarks.runs.record import EncoderUse, RecipeUse, RunRecord, TaskUse

EVALUATED = "evaluate"
"""The protocol of recipes that train nothing and score a model of others with its own head."""


class Conditions(NamedTuple):
    """What two rows must share to be compared; the encoder is what may differ."""

    task_version: int
    recipe_digest: str
    image_size_px: int
    fingerprint: str


@dataclass(frozen=True)
class TransferRun:
    """A completed transfer with everything a row needs."""

    folder: Path
    record: RunRecord
    task: TaskUse
    encoder: EncoderUse

    @property
    def conditions(self) -> Conditions:
        record = self.record
        return Conditions(self.task.version, record.recipe.digest, record.image_size_px, record.data.fingerprint)

    @property
    def row_key(self) -> tuple[str, ...]:
        """What runs of one row have in common: all but the seed."""
        encoder = self.encoder
        identity = encoder.sha256 or encoder.reference
        architecture = digest_of(encoder.architecture)
        conditions = map(str, self.conditions)
        return (self.task.name, encoder.label, identity, architecture, encoder.init_stage, *conditions)


class Spread(NamedTuple):
    """Mean and sample standard deviation (n - 1; None for n = 1) over n seeds."""

    mean: float
    std: float | None
    n: int


@dataclass(frozen=True)
class Row:
    """The completed runs of one encoder under one set of conditions, one run a seed, ordered by seed."""

    runs: tuple[TransferRun, ...]

    @property
    def first(self) -> TransferRun:
        return self.runs[0]

    @property
    def task(self) -> str:
        return self.first.task.name

    @property
    def encoder(self) -> EncoderUse:
        return self.first.encoder

    @property
    def architecture(self) -> Architecture:
        return self.encoder.architecture

    @property
    def recipe(self) -> RecipeUse:
        return self.first.record.recipe

    @property
    def conditions(self) -> Conditions:
        return self.first.conditions

    @property
    def seeds(self) -> list[int]:
        return [run.record.seed for run in self.runs]

    @cached_property
    def records(self) -> list[RunRecord]:
        return [run.record for run in self.runs]

    def seeds_shared_with(self, other: Row) -> list[int]:
        return sorted(set(self.seeds) & set(other.seeds))

    def folder(self, seed: int) -> Path:
        """Return where the run with this seed lies."""
        return next(run.folder for run in self.runs if run.record.seed == seed)

    def scores(self, metric: str) -> dict[int, float]:
        """Return the last epoch's value of `metric` by seed; seeds without it are absent."""
        return {record.seed: record.metrics[metric].last for record in self.records if metric in record.metrics}

    @property
    def trained_elsewhere(self) -> bool:
        """Whether `mimbench evaluate` only scored a model that others trained."""
        return self.recipe.resolved.get("protocol") == EVALUATED

    def added_test_sets(self, metric: str) -> set[str]:
        """Return the fingerprints of the test sets behind `metric` that were added to finished runs."""
        added = (one for record in self.records for one in record.added_test_sets)
        return {one.data.fingerprint for one in added if metric.startswith(f"{one.name}_")}

    def last(self, metric: str) -> Spread | None:
        """Return the last epochs' values of `metric`; None where no run measured it."""
        return spread(self.scores(metric).values())

    def best(self, metric: str) -> Spread | None:
        """Return the best epochs' values of `metric`; None where it was measured once a run."""
        values = (record.metrics[metric].best for record in self.records if metric in record.metrics)
        return spread(value for value in values if value is not None)


def spread(values: Iterable[float]) -> Spread | None:
    """Return mean, sample standard deviation and n; None when there is no value."""
    found = list(values)
    if not found:
        return None
    return Spread(statistics.fmean(found), statistics.stdev(found) if len(found) > 1 else None, len(found))
