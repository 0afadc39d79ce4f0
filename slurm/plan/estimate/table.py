"""`mimbench pipeline estimate`: what a pretraining costs on numbers of GPUs, by arithmetic, step by step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from benchmarks.catalogue.backbones import backbone_name
from benchmarks.config import Recipe, load_recipe
from benchmarks.errors import UserError
from benchmarks.text.tables import aligned
from benchmarks.training.training import require_full_batch
from pretrain.recipe import PretrainRecipe
from slurm.graph.cluster import SlurmCluster
from slurm.plan.estimate.data_sizes import published_images
from slurm.plan.estimate.devices import Device, find_devices, unknown_device, utilisation
from slurm.plan.estimate.estimate import Estimate, Unknown, estimate
from slurm.plan.estimate.memory import Memory, accumulations, exchanged_bytes, memory_of
from slurm.plan.estimate.span import Span, rounded
from slurm.plan.estimate.work import Work, work_of
from slurm.plan.speed import Training
from slurm.terminal import clock

GPUS_PER_NODE = 8
MOST_GPUS = 65_536
WAYS = {"whole": (False, False), "recomputed": (True, False), "divided": (False, True), "both": (True, True)}
"""Whether blocks are computed again, and whether the model is divided between processes."""
HEAD = ("encoder", "GPUs", "images each", "step", "images/s", "time", "GPU hours", *WAYS, "fits")
LEGEND = (
    "~ marks an estimate by arithmetic: from the lowest to the highest that is likely. "
    f"{', '.join(WAYS)}: the memory of each GPU,\nas the recipe is, with training.activation_checkpointing, with "
    "training.sharded, with both; fits: the first that fits, by which the\ntime is."
)


@dataclass(frozen=True)
class Case:
    """One encoder on one number of GPUs."""

    name: str
    training: Training
    work: Work
    found: Estimate
    device: Device
    way: str
    """The first of WAYS in which it surely fits into a GPU's memory, by which the time is; else the last."""

    @property
    def images_each(self) -> float:
        return float(self.training.recipe.training.batch_size / self.training.processes)

    def memory(self, way: str) -> Memory:
        """Return the memory of each GPU in one of WAYS."""
        again, divided = WAYS[way]
        work = replace(self.work, recomputed=again, sharded=divided)
        return memory_of(work, self.images_each / self.training.recipe.training.accumulate, self.training.processes)


def numbers_of(field: str, text: str) -> list[int]:
    """Return the numbers of a list such as `8,32`. Raises UserError for anything else."""
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() and 0 < int(word) <= MOST_GPUS for word in words):
        raise UserError.about(field, text, f"whole numbers from 1 to {MOST_GPUS}, with commas between", "8,32,128")
    return [int(word) for word in words]


def cases(
    recipe_name: str,
    overrides: Sequence[str],
    encoders: Sequence[str],
    device: str,
    gpus: Sequence[int],
    images: int | None,
) -> Iterator[Case]:
    """Yield each encoder on each number of GPUs. Raises UserError for what has no arithmetic, or does not fit."""
    found = find_devices(device)
    if len(found) != 1:
        rule = "one device of the table" + (f"; it means {', '.join(each.device for each in found)}" if found else "")
        named = [f"--device '{each.device}'" for each in found]
        remedy = " or ".join(named) if named else unknown_device(device).partition(": ")[2]
        raise UserError.about("--device", device, rule, remedy)
    if images is not None and images < 1:
        raise UserError.about("--images", images, "1 or more", "the number of training images")
    names = encoders or [""]
    for name in names:
        chosen = [f"encoder={name}"] if name else []
        recipe = load_recipe(PretrainRecipe, "pretrain", recipe_name, ["data.root=imagenet", *overrides, *chosen])
        for count in gpus:
            yield _case(recipe, name, found[0], count, images)


def _case(recipe: Recipe[PretrainRecipe], name: str, device: Device, gpus: int, images: int | None) -> Case:
    config = recipe.config
    if config.training.batch_size % (gpus * config.training.accumulate):
        rule = f"a number that divides the batch ({config.training.batch_size}) into equal shares"
        raise UserError.about("--gpus", gpus, rule, "another number, or training.batch_size=N")
    per_node = min(gpus, GPUS_PER_NODE)
    if gpus % per_node:
        raise UserError.about("--gpus", gpus, f"whole nodes of {GPUS_PER_NODE}", "a multiple, or fewer than one node")
    cluster = SlurmCluster(
        executor="slurm", nodes=gpus // per_node, gpus_per_node=per_node, device=device.device, time_limit="365d"
    )
    shown = backbone_name(config.encoder) or name or config.encoder.name
    found = [_in_way(way, shown, recipe, device, cluster, gpus, images) for way in WAYS]
    return next((case for case in found if case.found.fits), found[-1])


def _in_way(
    way: str,
    shown: str,
    recipe: Recipe[PretrainRecipe],
    device: Device,
    cluster: SlurmCluster,
    gpus: int,
    images: int | None,
) -> Case:
    again, divided = WAYS[way]
    changed = {"activation_checkpointing": again, "sharded": divided}
    config = recipe.config.model_copy(update={"training": recipe.config.training.model_copy(update=changed)})
    training = Training("pretrain", config, recipe.name, None, gpus)
    per_epoch = images if images is not None else published_images(training)
    if per_epoch is not None:
        require_full_batch(per_epoch, config.training.batch_size)
    work, placed = work_of(training), cluster.allocation(None, "")
    found = estimate(training, training.images(per_epoch), per_epoch, 1.0, cluster, placed, ())
    if work is not None and device.lacks(work.precision):
        rule = f"what {device.device} has: fp16 or fp32"
        raise UserError.about("training.precision", work.precision, rule, "set training.precision=fp16")
    if isinstance(found, Unknown) or work is None:
        rule = "a Swin, SwinV2, ViT or ResNet-50 of the catalogue (`mimbench list encoders`)"
        raise UserError.about("encoder", shown, rule, "another, or `mimbench bench` on such a device")
    return Case(shown, training, work, found, device, way)


def table(found: Sequence[Case]) -> str:
    """Return one row for each case, and below them what the columns mean."""
    return f"{aligned([HEAD, *map(_row, found)], right=[False] + [True] * (len(HEAD) - 2) + [False])}\n\n{LEGEND}"


def _row(case: Case) -> tuple[str, ...]:
    processes, recipe = case.training.processes, case.training.recipe.training
    rate = case.found.images_per_second
    step = Span(recipe.batch_size / rate.high, recipe.batch_size / rate.low)
    return (
        case.name,
        str(processes),
        f"{case.images_each:g}",
        step.text(rounded, " s"),
        rate.text(rounded),
        case.found.seconds.text(clock),
        case.found.seconds.times(processes / 3600).text(rounded),
        *(case.memory(way).total_mb.times(1e-3).text(rounded, " GB") for way in WAYS),
        _fits(case),
    )


def _fits(case: Case) -> str:
    """Return how the training surely fits into a GPU's memory: in a way, or in so many parts."""
    if case.found.fits:
        return case.way
    limit = 1000 * case.device.memory_gb
    parts = accumulations(case.work, case.images_each, case.training.processes, limit)
    return "no" if parts is None else f"{case.way}, accumulate={parts}"


def steps_of(case: Case) -> Iterator[str]:
    """Yield the arithmetic of one case, a line for each step."""
    work, device, recipe = case.work, case.device, case.training.recipe
    batch, processes = recipe.training.batch_size, case.training.processes
    share, peak = utilisation(work.encoder.shape, device, work.precision), device.peak(work.precision)
    memory = memory_of(work, case.images_each / recipe.training.accumulate, processes)
    each, rate = work.flops * batch / processes, share.times(peak / 1e12)
    forward, head = work.encoder.flops / 1e9, 3 * work.head.training_flops / 1e9
    sent, states = exchanged_bytes(work, processes) / 1e9, 8 + work.state_bytes
    computing = Span(each / peak / share.high, each / peak / share.low)
    way = "" if case.way == "whole" else f", {case.way}"
    where = f"{processes} x {device.device}, batch {batch}, {work.precision}{way}"
    yield f"{case.name} at {recipe.image_size_px} px, {where}"
    total = work.flops / 1e9
    yield f"  an image     {work.passes:g} passes x {forward:.1f} GFLOP + {head:.1f} of the head = {total:.1f} GFLOP"
    yield f"  a step       {batch} / {processes} images x that = {each / 1e12:.1f} TFLOP on each GPU"
    yield f"  rate         {peak / 1e12:g} TFLOPS x {share.low:.0%}-{share.high:.0%} = {rate.text(rounded, ' TFLOP/s')}"
    yield f"  computing    {computing.text(rounded, ' s')} a step"
    what = "weights twice and gradients" if work.sharded else "gradients"
    yield f"  exchange     {sent:.2f} GB sent by each GPU in a step: {what} of {work.trained / 1e6:.1f}M parameters"
    parameters, by = work.parameters / 1e6, f" / {processes}" if work.sharded else ""
    yield f"  states       {parameters:.1f}M x {states} B (weight, gradient, AdamW){by} = {memory.states / 1e9:.2f} GB"
    kept = work.kept_bytes / 1e6
    yield f"  activations  {case.images_each:g} images x {kept:.0f} MB = {memory.activations / 1e9:.1f} GB"
    yield f"  the whole    {case.found.images:,} images: {case.found.seconds.text(clock)}"
