"""On how many nodes a stage takes the fewest GPU hours: known from what finished runs measured, or not at all."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from slurm.graph.check import Advise
from slurm.graph.cluster import Cluster, SlurmCluster
from slurm.graph.pipeline import PipelineFile
from slurm.graph.placing import StageWork, fitting_nodes, stage_works
from slurm.graph.resources import START_S, Allocation
from slurm.plan.cost import Forecast, training_of
from slurm.plan.speed import Measured, Training, find_speed, finished_runs, images_per_epoch


@dataclass(frozen=True)
class Cost:
    """What a stage takes on a number of nodes, starts included."""

    nodes: int
    seconds: float
    device_hours: float


@dataclass(frozen=True)
class Proposal:
    """A number of nodes on which a stage takes fewer GPU hours than on those that are asked for."""

    field: str
    nodes: int
    seconds: float
    device_hours: float
    now_hours: float


def adviser(cluster: Cluster, runs: Path) -> Advise | None:
    """Return what chooses among the numbers of nodes that a batch fits; None where there is nothing to choose."""
    if not isinstance(cluster, SlurmCluster):
        return None
    read = functools.cache(finished_runs)  # only where a batch does not fit, and once

    def advise(file: PipelineFile, found: StageWork, counts: Sequence[int]) -> int | None:
        placed = cluster.allocation(found.work.resources, found.resources_field)
        training = training_of(file, found, placed.ranks_per_stage)
        if training is None:
            return None
        known = read(runs)
        images = training.images(images_per_epoch(training, known))
        costs = _costs(training, placed, cluster, counts, images, known)
        return min(costs, key=_by_hours).nodes if costs else None

    return advise


def proposals(
    file: PipelineFile, cluster: SlurmCluster, known: Sequence[Measured], found: Mapping[str, Forecast]
) -> dict[str, Proposal]:
    """Return, by stage, where other nodes would take fewer GPU hours; of stages of one entry the first alone."""
    proposed: dict[str, Proposal] = {}
    fields: set[str] = set()
    for work in stage_works(file):
        stage = next((name for name in work.stages if name in found and found[name].seconds is not None), None)
        if stage is None or work.field in fields or (training := found[stage].training) is None:
            continue
        fields.add(work.field)
        placed = cluster.allocation(work.work.resources, work.resources_field)
        recipe = training.recipe.training
        counts = fitting_nodes(recipe.batch_size, recipe.accumulate, placed.ranks_per_node)
        costs = {cost.nodes: cost for cost in _costs(training, placed, cluster, counts, found[stage].images, known)}
        if (now := costs.get(placed.nodes)) is None:
            continue
        best = min(costs.values(), key=_by_hours)
        if best.device_hours < now.device_hours:
            field = work.resources_field
            proposed[stage] = Proposal(field, best.nodes, best.seconds, best.device_hours, now.device_hours)
    return proposed


def _by_hours(cost: Cost) -> tuple[float, float]:
    return cost.device_hours, cost.seconds


def _costs(
    training: Training,
    placed: Allocation,
    cluster: SlurmCluster,
    counts: Sequence[int],
    images: int | None,
    runs: Sequence[Measured],
) -> list[Cost]:
    """Return the cost on each number of nodes whose speed is known, up to the most that the cluster file names.

    A number that a run was measured on has that run's speed; the speed of others follows from the newest run. One that
    gives a process more images than any such run had is left out: they might not fit into its memory.
    """
    most = max(placed.nodes, cluster.nodes, *(profile.nodes or 1 for profile in cluster.profiles.values()), 1)
    costs = []
    for nodes in counts:
        ranks = nodes * placed.ranks_per_node
        speed = find_speed(replace(training, processes=ranks), cluster, runs)
        if images is None or speed is None or nodes > most:
            continue
        recipe = training.recipe.training
        share = recipe.batch_size / recipe.accumulate / ranks
        if speed.largest_share is not None and share > speed.largest_share:
            continue
        seconds = images / (speed.images_per_second * ranks)
        seconds += START_S * max(1, math.ceil(seconds / placed.longest_attempt_s))
        costs.append(Cost(nodes, seconds, seconds * ranks / 3600))
    return costs
