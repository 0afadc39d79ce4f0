"""Which resources each stage of a pipeline has, and on how many nodes the batch of its recipe can be shared evenly."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.errors import four_parts
from benchmarks.training.training import Training
from slurm.graph.cluster import SlurmCluster
from slurm.graph.entries import Source, Work
from slurm.graph.pipeline import PipelineFile
from slurm.graph.resources import Allocation, count_of_ranks
from slurm.graph.stages import REPORT, part_until, rung_stage
from slurm.graph.sweep import without_sweeps

PRETRAIN = "pretrain"
MOST_COUNTS = 12
"""How many numbers of nodes one message lists at most."""


@dataclass(frozen=True)
class StageWork:
    """What an entry of the pipeline file has done, of a task with one of its encoders: a stage for each seed."""

    name: str
    """The stages' name, but for the seed."""
    stages: tuple[str, ...]
    field: str
    """The entry: `pretrain.simmim`, `tasks.coco`."""
    kind: str
    """`pretrain`, or the task of a transfer."""
    work: Work
    source: Source | None
    """The encoder of a transfer."""
    begin: float = 0.0
    end: float = 1.0
    """Between which shares of the training the stage works."""

    @property
    def task(self) -> str | None:
        return None if self.source is None else self.kind

    @property
    def resources_field(self) -> str:
        return f"{self.field}.resources"


def stage_works(file: PipelineFile) -> Iterator[StageWork]:
    """Yield the work of all stages that make runs, under the names that `expand` gives, sweeps written out."""
    file = without_sweeps(file)
    for name, pretrain in file.pretrain.items():
        stage, rungs = f"pretrain.{name}", pretrain.rungs or ()
        yield StageWork(stage, (stage,), stage, PRETRAIN, pretrain, None, begin=max(rungs, default=0.0))
        for begin, end in zip((0.0, *rungs), rungs, strict=False):
            part = part_until(stage, end)
            yield StageWork(part, (part,), stage, PRETRAIN, pretrain, None, begin, end)
    for name, finetune in file.finetune.items():
        stage = f"finetune.{name}"
        yield StageWork(stage, (stage,), stage, finetune.task, finetune, finetune.encoder)
    for name, work in file.tasks.items():
        for label, source in file.encoders_of(name).items():
            stages = tuple(f"{name}.{label}.seed{seed}" for seed in file.seeds)
            yield StageWork(f"{name}.{label}", stages, f"tasks.{name}", file.task(name), work, source)


def allocations(file: PipelineFile, cluster: SlurmCluster) -> dict[str, Allocation]:
    """Return what every stage asks Slurm for, by its name; a rung asks for what the report does.

    Raises UserError for an unknown profile, and for fields that do not go together.
    """
    by_field: dict[str, Allocation] = {}
    found: dict[str, Allocation] = {}
    for work in stage_works(file):
        if work.field not in by_field:
            by_field[work.field] = cluster.allocation(work.work.resources, work.resources_field)
        found |= dict.fromkeys(work.stages, by_field[work.field])
    small = cluster.report_allocation(file.report.resources if file.report is not None else None)
    rungs = [rung_stage(name, share) for name, entry in file.pretrain.items() for share in entry.rungs or ()]
    return {**found, **dict.fromkeys(rungs, small), REPORT: small}


def fitting_nodes(batch_size: int, accumulate: int, ranks_per_node: int) -> list[int]:
    """Return the numbers of nodes whose processes can share a batch evenly, each taking its part in equal passes."""
    shares, left = divmod(batch_size, accumulate * ranks_per_node)
    return [] if left else [nodes for nodes in range(1, shares + 1) if shares % nodes == 0]


def no_equal_shares(
    found: StageWork, placed: Allocation, training: Training, fits: Sequence[int], best: int | None
) -> str:
    """Word that a global batch, which is the recipe's, cannot be shared by the processes that are asked for."""
    field, per_node = found.resources_field, placed.ranks_per_node
    passes = f" in training.accumulate = {training.accumulate} passes" if training.accumulate > 1 else ""
    shared = f"{{}} that share training.batch_size = {training.batch_size} evenly{passes}"
    if fits:
        some = ", ".join(map(str, fits if len(fits) <= MOST_COUNTS else [*fits[: MOST_COUNTS - 1], "...", fits[-1]]))
        rule = f"{shared.format('nodes')}, each with {count_of_ranks(per_node, placed.has_gpus)}: {some}"
        why = "; of these it takes the fewest GPU hours" if best is not None else ""
        nearest = max((count for count in fits if count < placed.nodes), default=fits[0])
        return four_parts(f"{field}.nodes", placed.nodes, rule, f"set {field}.nodes={best or nearest}{why}")
    name = "gpus_per_node" if placed.has_gpus else "processes_per_node"
    counts = [count for count in range(1, per_node) if fitting_nodes(training.batch_size, training.accumulate, count)]
    rule = f"{shared.format('processes on a node')}: {', '.join(map(str, counts)) or 'none'}"
    change = f"set {field}.{name}={counts[-1]}" if counts else "change training.accumulate or training.batch_size"
    return four_parts(f"{field}.{name}", per_node, rule, change)
