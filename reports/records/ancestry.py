"""What every row's encoder was trained on, and for how long: its history, from its own record and its parents'."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.data.content_sample import share_seen
from benchmarks.history import TrainingStage, pretraining_data
from benchmarks.runs.find import FoundRun
from benchmarks.runs.record import EncoderUse
from benchmarks.runs.stages import history_before, own_stage
from reports.records.integrity import LEAST_TIME
from reports.records.rows import Row
from reports.text import count

AFTER_EXPORT_SECONDS = 60.0
"""What a run may measure after it has written its encoder, in which the time until then is stated."""

STATED = ("method", "seed", "recipe_digest")
"""What a stage says of its run, unless an earlier version wrote it."""


@dataclass(frozen=True)
class Budget:
    """All trainings behind a row's score."""

    before: tuple[TrainingStage, ...]
    """Those that led to its encoder, the first one first."""
    own: TrainingStage
    """The row's own training; its time is the mean over the runs."""
    stated: bool
    """Whether a record states the history; else it was put together from the parents' records."""
    doubts: tuple[str, ...] = ()
    """What a stated history says otherwise than the record of the run that did it."""

    @property
    def stages(self) -> tuple[TrainingStage, ...]:
        return (*self.before, self.own)

    @property
    def images_seen(self) -> float | None:
        """Epochs x images over all stages; None where those of one are not known."""
        return _sum(stage.images_seen for stage in self.stages)

    @property
    def gpu_hours(self) -> float | None:
        """The GPU hours of all stages; None where those of one are not known, and where one ran on the CPU."""
        return _sum(stage.gpu_hours for stage in self.stages)

    @property
    def data_sets(self) -> frozenset[str] | None:
        """The names of all data sets that it saw; None where those of one stage are not known."""
        seen = self.stages if self.own.data is None or self.own.data.images != 0 else self.before
        data = pretraining_data(seen)
        return None if data is None else frozenset(each.name for each in data)


def _sum(values: Iterable[float | None]) -> float | None:
    """Return the sum of all values; None where one is not known."""
    found = list(values)
    known = [value for value in found if value is not None]
    return math.fsum(known) if len(known) == len(found) else None


def budget_of(row: Row, known: Mapping[str, FoundRun]) -> Budget:
    """Return the budget of a row; `known` are completed runs as `origins` gives them."""
    uses = [(run.encoder, run.record.parents) for run in row.runs]
    use, parents = next((pair for pair in uses if pair[0].history is not None), uses[0])
    history, own_ids = history_before(use, parents), {run.record.run_id for run in row.runs}
    sha256 = use.sha256 if len(history) == 1 else None
    before = [stage if stage.run_id in own_ids else _filled(stage, known, sha256) for stage in history]
    seconds = math.fsum(record.seconds for record in row.records) / len(row.records)
    own = own_stage(row.first.record).model_copy(update={"seconds": seconds})
    doubts = [*_circles(before, own_ids)]
    if use.history is not None:
        doubts += [*_contradictions(before, known), *_unnamed(before, use, known)]
    return Budget(tuple(before), own, use.history is not None, tuple(doubts))


def _filled(stage: TrainingStage, known: Mapping[str, FoundRun], sha256: str | None) -> TrainingStage:
    """Return a stage of which only the run or the encoder is on record as that run's own record has it."""
    found = known.get(stage.run_id or sha256 or "") if stage.data is None else None
    return own_stage(found.record, stage.epochs) if found is not None else stage


def _circles(stages: Sequence[TrainingStage], own_ids: Collection[str]) -> Iterator[str]:
    """Yield what is wrong with a history that names a run twice, or one that starts from itself."""
    times = Counter(stage.run_id for stage in stages if stage.run_id is not None)
    yield from (f"history names {name} {count} times" for name, count in times.items() if count > 1)
    yield from (f"history names the row's own run {name}" for name in times if name in own_ids)


def _contradictions(stages: Iterable[TrainingStage], known: Mapping[str, FoundRun]) -> Iterator[str]:
    for stage in stages:
        run = known.get(stage.run_id or "")
        if run is None or run.record.run_id != stage.run_id:
            continue
        done = own_stage(run.record)
        # An encoder may come from an epoch before the last, so fewer epochs agree.
        longer = stage.epochs is not None and done.epochs is not None and stage.epochs > done.epochs * (1 + 1e-9)
        otherwise = any(getattr(stage, name) not in (None, getattr(done, name)) for name in STATED)
        if stage.data != done.data or longer or otherwise or stage.gpus != done.gpus or _other_time(stage, done):
            yield f"history is not what the record of {stage.run_id} says"


def _other_time(stage: TrainingStage, done: TrainingStage) -> bool:
    """Tell whether a stage has less time than its run took for as many epochs, or more than it took in all; a run goes
    on after it has exported."""
    if stage.seconds is None or done.seconds is None:
        return False
    share = 1.0 if not stage.epochs or not done.epochs else min(1.0, stage.epochs / done.epochs)
    quicker = stage.seconds + AFTER_EXPORT_SECONDS < LEAST_TIME * share * done.seconds
    return quicker or LEAST_TIME * stage.seconds > done.seconds + AFTER_EXPORT_SECONDS


def _unnamed(stages: Sequence[TrainingStage], use: EncoderUse, known: Mapping[str, FoundRun]) -> Iterator[str]:
    """Yield what a history leaves out: the run at hand that left these weights, and that labels were used."""
    made = known.get(use.sha256 or "")
    trained = made is not None and (made.record.encoder is None or made.record.encoder.sha256 != use.sha256)
    if made is not None and trained and made.record.run_id not in {stage.run_id for stage in stages}:
        yield f"history does not name {made.record.run_id}, which left these weights"
    yield from _misstated(stages, use)


def _misstated(stages: Sequence[TrainingStage], use: EncoderUse) -> Iterator[str]:
    """Yield what an encoder is said to be that its history is not."""
    own = stages[0].epochs if len(stages) == 1 and stages[0].run_id else None
    if own is not None and use.epochs is not None and abs(use.epochs - own) >= 1:
        yield f"said to be of {count(use.epochs, 'epoch')}, and its history has {own:g}"
    if any(stage.method == "simmim" for stage in stages) and "simmim" not in use.method:
        yield f"said to be of method {use.method}, and its history has simmim"
    labelled = next((stage for stage in stages if stage.data is not None and stage.data.labels == "labels"), None)
    if labelled is not None and use.init_stage == "self-supervised":
        yield f"said to be self-supervised, and its history has labels ({labelled.method})"


def other_data(ours: Budget, theirs: Budget, name: str) -> str | None:
    """Return a mark where two encoders did not see the same data sets, their last training's included."""
    mine, other = ours.data_sets, theirs.data_sets
    if mine is None or other is None:
        whose = "" if mine is None else f" of {name}"
        return None if ours.before == theirs.before else f"pretraining data{whose} unknown"
    parts = [("saw", mine - other), ("did not see", other - mine)]
    words = [f"{verb} {', '.join(sorted(names))}" for verb, names in parts if names]
    return f"other pretraining data than {name}: {'; '.join(words)}" if words else None


def test_images_seen(row: Row, budget: Budget, known: Mapping[str, FoundRun]) -> str | None:
    """Return a warning where a pretraining behind a row trained on images that the row is tested on.

    `known` are completed runs as `origins` gives them. None where it did not, or where a record has no sample.
    """
    test = row.first.record.data.sample
    found = (known.get(stage.run_id or "") for stage in budget.before)
    runs = [one.record for one in found if one is not None]
    trained = [(run, run.data.sample) for run in runs if run.kind == "pretrain"]
    seen = [(run, share_seen(test, sample)) for run, sample in trained if test is not None and sample is not None]
    words = [f"{run.run_id} saw test images ({share.words})" for run, share in seen if share.found]
    return "; ".join(words) or None
