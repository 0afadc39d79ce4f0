"""What a pipeline will cost: by what earlier runs measured, and where nothing did, by arithmetic, kept apart."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.encoders import Architecture, find_architecture
from benchmarks.runs.bench_record import BenchRecord
from slurm.graph.check import load_work
from slurm.graph.cluster import Cluster, Placed
from slurm.graph.entries import Source
from slurm.graph.pipeline import PipelineFile
from slurm.graph.placing import StageWork, stage_works
from slurm.graph.stages import Pipeline
from slurm.graph.sweep import without_sweeps
from slurm.plan.estimate.data_sizes import published_images
from slurm.plan.estimate.estimate import Estimate, Unknown, estimate
from slurm.plan.estimate.span import NOTHING, Span
from slurm.plan.speed import Measured, Speed, Training, find_speed, images_per_epoch


@dataclass(frozen=True)
class Forecast:
    """What one stage will take; fields are None where that is not known."""

    processes: int
    images: int | None
    speed: Speed | None
    memory_mb: float | None
    """Peak memory of each process, as a run needed it that had as many images per process."""
    disk_mb: float | None
    """What the measured run left on disk."""
    longest_attempt_s: float
    """How long the stage works before it must be requeued."""
    has_gpus: bool = False
    training: Training | None = None
    """What is trained; None where it was not looked at."""
    estimate: Estimate | Unknown | None = None
    """What it will take by arithmetic, where something of the above is None, or why nothing says."""

    @property
    def seconds(self) -> float | None:
        """images / (images per second of one process x processes); start-up and evaluation come on top."""
        if self.images is None or self.speed is None:
            return None
        return self.images / (self.speed.images_per_second * self.processes)

    @property
    def device_hours(self) -> float | None:
        return self.seconds * self.processes / 3600 if self.seconds is not None else None

    @property
    def requeues(self) -> int | None:
        """How often the time limit will be reached before the end."""
        return self._requeues(self.seconds) if self.seconds is not None else None

    def requeues_in(self, span: Span) -> Span:
        """Return how often it will be reached in a time that is estimated."""
        return Span(*map(self._requeues, span))

    def _requeues(self, seconds: float) -> int:
        return max(0, math.ceil(seconds / self.longest_attempt_s) - 1)

    @property
    def span_disk_mb(self) -> Span:
        """What it leaves on disk, measured or estimated; nothing where neither is known."""
        if self.disk_mb is not None:
            return Span(self.disk_mb, self.disk_mb)
        return self.estimate.disk_mb if isinstance(self.estimate, Estimate) else NOTHING

    @property
    def estimated(self) -> Estimate | None:
        """The estimate, where the time is known by nothing else."""
        return self.estimate if self.seconds is None and isinstance(self.estimate, Estimate) else None

    @property
    def unknown(self) -> Unknown | None:
        """What is missing for the time; None where nothing is."""
        return self.estimate if self.seconds is None and isinstance(self.estimate, Unknown) else None

    @property
    def span_s(self) -> Span | None:
        """How long it takes: measured, both ends being the same, or estimated; None where neither is known."""
        if self.seconds is not None:
            return Span(self.seconds, self.seconds)
        return self.estimated.seconds if self.estimated is not None else None


def forecasts(
    file: PipelineFile,
    cluster: Cluster,
    known: Sequence[Measured],
    done: Mapping[str, Path],
    counts: Mapping[str, int],
    benches: Sequence[BenchRecord] = (),
) -> dict[str, Forecast]:
    """Return a forecast for every stage of a checked file that trains, by name, from finished runs that are `known`,
    and of work that none of them did, from what `mimbench bench` measured.

    `counts` has the training images of the file's entries, as far as they were counted.

    `done` has the run folders of stages that are finished: a stage's own run is no source of its forecast, so that the
    two can be compared.
    """
    found: dict[str, Forecast] = {}
    file = without_sweeps(file)
    epochs: dict[tuple[str, ...], int | None] = {}
    for work in stage_works(file):
        placed = cluster.allocation(work.work.resources, work.resources_field)
        if (training := training_of(file, work, placed.ranks_per_stage)) is None:
            continue
        where = (training.kind, str(training.recipe.data.root), str(training.subset))
        if work.field not in counts and where not in epochs:
            epochs[where] = images_per_epoch(training, known)
        per_epoch = counts[work.field] if work.field in counts else epochs[where]
        stated = cluster.training_images.get(str(training.recipe.data.root))
        if per_epoch is None and stated is not None:
            per_epoch = training.drawn(stated)
        for stage in work.stages:
            own = done.get(stage)
            others = [run for run in known if own is None or run.folder.resolve() != own.resolve()]
            found[stage] = _forecast(training, per_epoch, cluster, placed, others, benches, work)
    return found


def _forecast(
    training: Training,
    per_epoch: int | None,
    cluster: Cluster,
    placed: Placed,
    runs: Sequence[Measured],
    benches: Sequence[BenchRecord],
    work: StageWork,
) -> Forecast:
    speed = find_speed(training, cluster, runs, benches)
    measured = speed.measured if speed is not None else None
    memory = None
    if measured is not None:
        batch_size = measured.trained_with("batch_size") or 0
        if training.recipe.training.batch_size * measured.record.processes == batch_size * training.processes:
            memory = measured.record.peak_memory_mb
    images = training.images(per_epoch)
    disk_mb = measured.disk_bytes() / 1e6 if measured is not None else None
    part = work.end - work.begin
    guess = None
    if None in (images, speed, memory, disk_mb):
        published = per_epoch if per_epoch is not None else published_images(training)
        likely = images if images is not None else training.images(published)
        guess = estimate(training, likely, published, part, cluster, placed, benches, speed)
    return Forecast(
        processes=training.processes,
        images=round(images * part) if images is not None else None,
        speed=speed,
        memory_mb=memory,
        disk_mb=disk_mb if work.begin == 0 else 0.0,  # the parts of one run are one folder
        longest_attempt_s=placed.longest_attempt_s,
        has_gpus=placed.has_gpus,
        training=training,
        estimate=guess,
    )


def training_of(file: PipelineFile, found: StageWork, processes: int) -> Training | None:
    """Return what decides a stage's speed; None for a protocol that trains nothing. `file` has no sweeps."""
    recipe = load_work(found.work, found.task, found.source)
    if getattr(recipe.config, "training", None) is None:
        return None
    encoder = None if found.source is None else _encoder(file, found.source)
    return Training(found.kind, recipe.config, recipe.name, encoder, processes)


def _encoder(file: PipelineFile, source: Source) -> str | Architecture:
    """Return an encoder's architecture, or its `ref` where only timm or its own file knows that."""
    if source.from_ is not None:
        section, _, name = source.from_.partition(".")
        if section == "finetune":
            return _encoder(file, file.finetune[name].encoder)
        encoder: Architecture = load_work(file.pretrain[name], None).config.encoder
        return encoder
    assert source.ref is not None
    scheme, _, name = source.ref.partition(":")
    return find_architecture(name) if scheme == "random" else source.ref


def makespan_s(pipeline: Pipeline, seconds: Mapping[str, float], places: float) -> float:
    """Return how long the stages take together with `places` of them side by side, those not in `seconds` taking none.

    A stage starts as soon as its parents have ended and there is room, in the order of the pipeline.
    """
    ends: dict[str, float] = {}
    busy: list[float] = []
    """When each place that was ever taken becomes free."""
    for stage in pipeline.stages:
        ready = max((ends[parent] for parent in stage.needs), default=0.0)
        length = seconds.get(stage.name, 0.0)
        if length:
            if len(busy) >= places:
                ready = max(ready, busy.pop(busy.index(min(busy))))
            busy.append(ready + length)
        ends[stage.name] = ready + length
    return max(ends.values(), default=0.0)
