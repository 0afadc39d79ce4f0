"""A row of a report: one encoder under one set of conditions, over its seeds."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from benchmarks.catalogue.suites import CORRUPTED, MCE
from benchmarks.config import digest_of
from benchmarks.encoders import Architecture
from benchmarks.runs.record import EncoderUse, RecipeUse, RunRecord, TaskUse
from reports.records.architectures import architecture_digest
from reports.records.traces import NO_TRACES, Traces

FINETUNED, ADAPTED = "finetune", "low-rank adapters"
"""The protocols that train the whole encoder, whose score is the final transfer, and adapters beside it."""
FAMILIES = ("fine-tuned", ADAPTED, "frozen", "trained elsewhere")
"""What becomes of the encoder: it is trained, adapted, left as it is, or was trained by others and is only scored."""
EVALUATED = "evaluate"
"""The protocol of recipes that train nothing and score a model of others with its own head."""


class Draw(NamedTuple):
    """What chance was drawn by: the seed of a run, and those of the trainings that led to its encoder."""

    seed: int
    before: tuple[int, ...] = ()
    """Empty where they are not known, and for random weights."""

    @property
    def words(self) -> str:
        """`seed 0`, or `seed 0 of pretraining 2`."""
        return f"seed {self.seed}" + (f" of pretraining {'/'.join(map(str, self.before))}" if self.before else "")


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
    collection: str = ""
    """The name of the collection that it was found in; empty where there is only one."""
    tested_on: str = ""
    """How many test images it has predictions of, and a digest of their names and labels; empty without predictions."""
    traces: Traces = NO_TRACES
    recounted: bool = False
    """Whether a table beside the record gives its score again."""

    @property
    def conditions(self) -> Conditions:
        record = self.record
        return Conditions(self.task.version, record.recipe.digest, record.image_size_px, record.data.fingerprint)

    @property
    def row_key(self) -> tuple[str, ...]:
        """What runs of one encoder, made by the people of one collection, have in common: all but the seed."""
        encoder = self.encoder
        images = "" if encoder.images is None else digest_of([encoder.images.mean, encoder.images.std])
        return self._key((encoder.sha256 or encoder.reference) + images)

    @property
    def key_over_pretrainings(self) -> tuple[str, ...] | None:
        """What runs of encoders that were trained alike, but for the seeds, have in common; None where unknown."""
        stages = self.encoder.history
        if not stages or any(stage.seed is None or stage.recipe_digest is None for stage in stages):
            return None
        chance = {"seed", "run_id", "seconds", "gpus"}
        return self._key(digest_of([stage.model_dump(mode="json", exclude=chance) for stage in stages]))

    def _key(self, identity: str) -> tuple[str, ...]:
        encoder = self.encoder
        architecture = architecture_digest(encoder.architecture)
        conditions = map(str, self.conditions)
        return (self.task.name, self.collection, encoder.label, identity, architecture, encoder.init_stage, *conditions)

    @property
    def before(self) -> tuple[int, ...]:
        """The seeds of the trainings that led to its encoder; empty where they are not known."""
        return tuple(stage.seed for stage in self.encoder.history or () if stage.seed is not None)


class Spread(NamedTuple):
    """Mean and sample standard deviation (n - 1; None for n = 1) over n seeds."""

    mean: float
    std: float | None
    n: int


@dataclass(frozen=True, eq=False)
class Row:
    """The completed runs of one encoder under one set of conditions, one run a seed, ordered by seed.

    Encoders of one label that were trained alike with different seeds are one row: `nested`, by those seeds first.
    """

    runs: tuple[TransferRun, ...]

    @cached_property
    def first(self) -> TransferRun:
        return self.runs[0]

    @property
    def task(self) -> str:
        return self.first.task.name

    @property
    def collection(self) -> str:
        return self.first.collection

    @cached_property
    def encoder(self) -> EncoderUse:
        return self.first.encoder

    @property
    def architecture(self) -> Architecture:
        return self.encoder.architecture

    @cached_property
    def recipe(self) -> RecipeUse:
        return self.first.record.recipe

    @cached_property
    def conditions(self) -> Conditions:
        return self.first.conditions

    @cached_property
    def _lasts(self) -> dict[str, Spread | None]:
        return {}

    @property
    def seeds(self) -> list[int]:
        return [run.record.seed for run in self.runs]

    @cached_property
    def records(self) -> list[RunRecord]:
        return [run.record for run in self.runs]

    @cached_property
    def pretrainings(self) -> list[tuple[int, ...]]:
        """The seeds of the trainings that led to its encoders, one entry for each encoder."""
        return list(dict.fromkeys(run.before for run in self.runs))

    @cached_property
    def nested(self) -> bool:
        return len(self.pretrainings) > 1

    def draw(self, run: TransferRun) -> Draw:
        return Draw(run.record.seed, run.before if self.nested else ())

    @cached_property
    def _drawn(self) -> list[tuple[Draw, RunRecord]]:
        return [(self.draw(run), run.record) for run in self.runs]

    def pairs_with(self, other: Row) -> list[tuple[Draw, TransferRun, TransferRun]]:
        """Return pairs of runs that share their seed, and that of pretraining where both rows have several."""
        theirs = {other.draw(run): run for run in other.runs}
        found = []
        for run in self.runs:
            draw = self.draw(run)
            keys = [
                key for key in theirs if key.seed == draw.seed and (not (key.before and draw.before) or key == draw)
            ]
            found += [(draw if draw.before else key, run, theirs[key]) for key in keys]
        return found

    def scores(self, metric: str) -> dict[Draw, float]:
        """Return the last epoch's value of `metric` by what chance was drawn by; runs without it are absent."""
        return {draw: record.metrics[metric].last for draw, record in self._drawn if metric in record.metrics}

    @property
    def protocol(self) -> str:
        """What the recipe trains; recipes from before there was a choice, and those of dense tasks, fine-tune."""
        resolved = self.recipe.resolved
        return ADAPTED if resolved.get("adapters") else str(resolved.get("protocol", FINETUNED))

    @property
    def family(self) -> str:
        """The family of its protocol, one of FAMILIES: rows of two families never share a table."""
        known = {FINETUNED: FAMILIES[0], ADAPTED: FAMILIES[1], EVALUATED: FAMILIES[3]}
        return known.get(self.protocol, FAMILIES[2])

    @property
    def trained_elsewhere(self) -> bool:
        """Whether `mimbench evaluate` only scored a model that others trained."""
        return self.protocol == EVALUATED

    def added_test_sets(self, metric: str) -> set[str]:
        """Return the fingerprints of the test sets behind `metric` that were added to finished runs."""
        added = (one for record in self.records for one in record.added_test_sets)
        return {one.data.fingerprint for one in added if _is_behind(one.name, metric)}

    def last(self, metric: str) -> Spread | None:
        """Return the last epochs' values of `metric`; None where no run measured it. Of a nested row the spread is that
        of the pretrainings' means."""
        if metric not in self._lasts:
            self._lasts[metric] = spread(units(self.scores(metric)).values())
        return self._lasts[metric]

    def best(self, metric: str) -> Spread | None:
        """Return the best epochs' values of `metric`; None where it was measured once a run."""
        known = {draw: record.metrics[metric].best for draw, record in self._drawn if metric in record.metrics}
        return spread(units({draw: best for draw, best in known.items() if best is not None}).values())


def units(scores: Mapping[Draw, float]) -> dict[tuple[int, ...], float]:
    """Return the values that vary by themselves: one for each seed or, of a nested row, each pretraining's mean."""
    grouped: dict[tuple[int, ...], list[float]] = defaultdict(list)
    for draw, value in scores.items():
        grouped[draw.before or (draw.seed,)].append(value)
    return {key: statistics.fmean(values) for key, values in grouped.items()}


def spread(values: Iterable[float]) -> Spread | None:
    """Return mean, sample standard deviation and n; None when there is no value."""
    found = list(values)
    if not found:
        return None
    n, mean = len(found), math.fsum(found) / len(found)
    # As `statistics.stdev` to the last bits, which takes fractions and ten times as long.
    std = math.sqrt(math.fsum([(value - mean) * (value - mean) for value in found]) / (n - 1)) if n > 1 else None
    return Spread(mean, std, n)


def _is_behind(test_set: str, metric: str) -> bool:
    """Tell whether a metric is a score on a further test set, or computed from such scores."""
    return test_set.startswith(CORRUPTED) if metric == MCE else metric.startswith(f"{test_set}_")
