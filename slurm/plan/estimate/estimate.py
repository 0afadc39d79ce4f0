"""How long a training takes of which nothing was measured: operations by rate, loading, exchange, start-up."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.runs.bench_record import BenchRecord
from slurm.graph.cluster import Cluster, Placed
from slurm.graph.resources import Allocation
from slurm.plan.estimate.data_sizes import tested_images
from slurm.plan.estimate.devices import Device, find_devices, rate, unknown_device
from slurm.plan.estimate.memory import disk_mb, exchanged_bytes, memory_of
from slurm.plan.estimate.span import NOTHING, Span
from slurm.plan.estimate.work import Work, evaluations, work_of
from slurm.plan.speed import Speed, Training

SAME_FAMILY, ANOTHER_FAMILY = Span(0.7, 1.2), Span(0.4, 1.6)
"""What another training reaches by what `mimbench bench` measured on the device, of an encoder of one family or not."""
LOADED = {
    "pretrain": Span(150, 450),
    "classification": Span(50, 400),
    "segmentation": Span(10, 80),
    "detection": Span(5, 40),
    "depth": Span(10, 80),
    "video": Span(0.5, 8),
}
"""Samples a second that one loader process makes. The highest of pretraining was measured (docs/speed.md, 2.4 ms an
image of 500x375); the others are assumed: bounds for cores of other speeds and slower augmentations."""
SMALL_PX, SMALL_LOADED = 64, 20.0
"""Files of images so small are read and decoded up to so many times as fast as photographs."""
BENCHED_LOADER = Span(0.6, 1.1)
START_S = Span(10.0, 90.0)
"""From the start of an attempt's processes to its first step: imports, the index of the data, weights, kernels."""
BENCHED_START = Span(0.7, 2.0)
BETWEEN_NODES = Span(12.5, 200.0)
"""GB/s that a node sends: one link of 100 Gb/s, and one of 200 Gb/s for each of 8 GPUs."""
GLOO = Span(0.2, 5.0)
"""GB/s between processes on CPUs."""


@dataclass(frozen=True)
class Estimate:
    """What one stage will take, each figure as a span."""

    images: int
    images_per_second: Span
    """Of all processes together, evaluation and start-up left out."""
    seconds: Span
    memory_mb: Span
    disk_mb: Span
    flops: float
    """Of a training step, for each image."""
    bound: str
    """What the longer end waits for: `computing` or `loading`."""
    source: str
    """Where the rate comes from, in words."""
    limit_mb: float | None = None
    """The memory of the smallest device that it may run on; None where that is not known."""

    @property
    def fits(self) -> bool:
        """Whether even the longer end of its memory is what a device has."""
        return self.limit_mb is None or self.memory_mb.high <= self.limit_mb


@dataclass(frozen=True, order=True)
class Unknown:
    """Why there is no estimate, and what would make one possible."""

    reason: str
    remedy: str


@dataclass(frozen=True)
class Rate:
    """Operations a second that training steps reach on a device, and how that is known."""

    flops_per_second: Span
    source: str
    found: tuple[Device, ...] = ()


def estimate(
    training: Training,
    images: int | None,
    per_epoch: int | None,
    part: float,
    cluster: Cluster,
    placed: Placed,
    benches: Sequence[BenchRecord],
    speed: Speed | None = None,
) -> Estimate | Unknown:
    """Return what a part of a training of `images` will take on a cluster; with a `speed` that is known, by that."""
    if images is None:
        field, here = f"training_images: {{{training.recipe.data.root}: NUMBER}}", "let the data be here"
        remedy = f"state {field} in the cluster file, or {here}" if training.drawn(1) is not None else here
        return Unknown("how many images an epoch has", remedy)
    if per_epoch is not None and per_epoch < training.recipe.training.batch_size:
        words = f"training.batch_size={per_epoch} or less, or correct training_images in the cluster file"
        return Unknown("how long it is, since a batch has more images than an epoch", words)
    work = work_of(training)
    if work is None:
        words = "state images_per_second in the cluster file, or let a short run of the same recipe finish"
        return Unknown("what its encoder costs, whose shape the catalogue of backbones lacks", words)
    reached = find_rate(work, cluster, placed.has_gpus, benches)
    if isinstance(reached, Unknown):
        return reached
    tested = tested_images(training)
    return _estimated(training, work, round(part * images), per_epoch, placed, reached, benches, tested, speed)


def find_rate(work: Work, cluster: Cluster, has_gpus: bool, benches: Sequence[BenchRecord]) -> Rate | Unknown:
    """Return the operations a second of a training's steps: from `mimbench bench` on this device, or from the table."""
    device = (cluster.device or "").lower()
    for bench in benches:
        own = bench.part == "step" and bench.step_flops and device in bench.environment.device.lower()
        if own and bench.is_of_cpu is not has_gpus:
            return _benched(work, bench)
    if not has_gpus:
        words = "`mimbench bench RECIPE` on such a machine, whose record is used from then on"
        return Unknown("how fast its CPUs are", words)
    if cluster.device is None:
        return Unknown("which device it runs on", "state `device` in the cluster file, as `device: H100`")
    if not (found := find_devices(cluster.device)):
        return Unknown(unknown_device(cluster.device), "correct `device`, or run `mimbench bench` there")
    names = " or ".join(each.device for each in found)
    if any(each.lacks(work.precision) for each in found):
        return Unknown(f"what {work.precision} would take on {names}, which has none", "set training.precision=fp16")
    peaks = sorted({each.peak(work.precision) / 1e12 for each in found})
    span = rate(work.encoder.shape, found, work.precision)
    shares = Span(span.low / 1e12 / peaks[0], span.high / 1e12 / peaks[-1])
    teras = "-".join(f"{peak:g}" for peak in peaks)
    return Rate(span, f"{shares.low:.0%} to {shares.high:.0%} of the peak of {names}, {teras} TFLOPS", found)


def _benched(work: Work, bench: BenchRecord) -> Rate:
    step, programs = bench.step_flops or 0.0, bench.programs
    flops = step * programs[0].per_second / bench.batch_size
    resolved = bench.recipe.resolved.get("encoder")
    name = str(resolved.get("name", "")) if isinstance(resolved, dict) else ""
    same = name.startswith(f"{work.encoder.shape.family}_") and _precision(bench) == work.precision
    span = SAME_FAMILY if same else ANOTHER_FAMILY
    words = f"{flops / 1e9:,.0f} GFLOP/s, as `mimbench bench` measured {bench.title}"
    return Rate(Span(span.low * flops, span.high * flops), words, find_devices(bench.environment.device))


def _precision(bench: BenchRecord) -> object:
    training = bench.recipe.resolved.get("training")
    return training.get("precision") if isinstance(training, dict) else None


def _estimated(
    training: Training,
    work: Work,
    images: int,
    per_epoch: int | None,
    placed: Placed,
    reached: Rate,
    benches: Sequence[BenchRecord],
    tested: int | None,
    speed: Speed | None,
) -> Estimate:
    processes, recipe = training.processes, training.recipe.training
    share = recipe.batch_size / recipe.accumulate / processes
    steps = images / recipe.batch_size
    computing = _inverse(reached.flops_per_second, work.flops * recipe.batch_size / processes)
    exchange = _exchange_s(work, training, placed, reached)
    step = Span(max(computing.low, exchange.low), computing.high + exchange.high)
    loading = _loading_s(training, benches).times(recipe.batch_size / processes)
    steps_seen = min(steps, per_epoch / recipe.batch_size) if work.keeps_features and per_epoch else steps
    whole = Span(max(step.low, loading.low), max(step.high, loading.high)).times(steps_seen)
    if speed is not None:
        whole = Span(1, 1).times(images / (speed.images_per_second * processes))
    most = tested if tested is not None else (per_epoch or 0) // 4
    number = evaluations(training, images, per_epoch)
    testing = _inverse(reached.flops_per_second, work.testing_flops * number / processes)
    seconds = whole.plus(Span((tested or 0) * testing.low, most * testing.high))
    attempts = 1 + (seconds.high // placed.longest_attempt_s if math.isfinite(placed.longest_attempt_s) else 0)
    start = _start_s(placed.has_gpus, benches)
    seconds = seconds.plus(Span(start.low, start.high * attempts))
    return Estimate(
        images=images,
        images_per_second=Span(images / whole.high, images / whole.low),
        seconds=seconds,
        memory_mb=memory_of(work, share, processes).total_mb,
        disk_mb=disk_mb(work, 1 + len(getattr(training.recipe, "export_epochs", ()))),
        flops=work.flops,
        bound="loading" if loading.high > step.high else "computing",
        source=reached.source,
        limit_mb=min((1000 * each.memory_gb for each in reached.found), default=None),
    )


def _inverse(rate: Span, amount: float) -> Span:
    """Return how long an amount takes at a rate."""
    return Span(amount / rate.high, amount / rate.low)


def _exchange_s(work: Work, training: Training, placed: Placed, reached: Rate) -> Span:
    """Return how long a step's exchange between processes takes: hidden behind computing at best, after it at worst."""
    if training.processes == 1:
        return NOTHING
    between = isinstance(placed, Allocation) and placed.nodes > 1
    links = [each.link for each in reached.found]
    inside = Span(min(links) / 2, max(links)) if links else GLOO
    speed = Span(min(BETWEEN_NODES.low, inside.low), min(BETWEEN_NODES.high, inside.high)) if between else inside
    return _inverse(speed.times(1e9), exchanged_bytes(work, training.processes))


def _start_s(has_gpus: bool, benches: Sequence[BenchRecord]) -> Span:
    """Return how long an attempt takes to its first step: by `mimbench bench --part start`, or as is usual."""
    known = [bench for bench in benches if bench.part == "start" and bench.is_of_cpu is not has_gpus]
    return BENCHED_START.times(known[0].programs[0].first_step_s) if known else START_S


def _loading_s(training: Training, benches: Sequence[BenchRecord]) -> Span:
    """Return how long one process's loaders take for a sample."""
    from benchmarks.catalogue.tasks import TASKS

    kind = "pretrain" if training.kind == "pretrain" else TASKS[training.kind].kind
    each = LOADED[kind]
    loaders = [bench for bench in benches if bench.part == "loader"]
    if kind == "pretrain" and loaders:
        each = BENCHED_LOADER.times(loaders[0].programs[0].per_second)
    elif training.recipe.image_size_px <= SMALL_PX:
        each = Span(each.low, SMALL_LOADED * each.high)
    return _inverse(each.times(max(1, training.recipe.training.workers)), 1.0)
