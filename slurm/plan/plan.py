"""`mimbench pipeline plan`: the graph, what is done already, and what the rest will cost."""

from __future__ import annotations

import math
import os
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from benchmarks.runs.bench_record import bench_records
from benchmarks.runs.folder import completed
from benchmarks.runs.record import RunRecord
from benchmarks.tables import aligned
from slurm.graph.cluster import Cluster, LocalCluster, SlurmCluster
from slurm.graph.pipeline import PipelineFile
from slurm.graph.placing import allocations
from slurm.graph.rungs import rung_warnings
from slurm.graph.stages import Pipeline, Stage
from slurm.graph.starts import misfits
from slurm.plan.arithmetic import floor_of
from slurm.plan.cost import Forecast, forecasts, makespan_s
from slurm.plan.nodes import Proposal, proposals
from slurm.plan.saved import Saved, saved_by_rungs
from slurm.plan.speed import finished_runs
from slurm.state.folder import PipelineFolder
from slurm.state.inputs import announced_run
from slurm.state.observe import DONE, observe
from slurm.terminal import clock

UNKNOWN = "?"


@dataclass(frozen=True)
class Plan:
    """A pipeline, which of its stages are done, and what the rest will take."""

    file: PipelineFile
    pipeline: Pipeline
    cluster: Cluster
    done: frozenset[str]
    """Names of the stages that are done."""
    pruned: frozenset[str]
    """Those among them that a rung ended."""
    saved: tuple[Saved, ...]
    """What the rungs of each sweep save."""
    records: dict[str, RunRecord]
    """By stage, of those that are done and made a run."""
    forecasts: dict[str, Forecast]
    resources: dict[str, str]
    """What each stage has, in a few words."""
    proposals: dict[str, Proposal]
    """Of stages that would take fewer GPU hours on another number of nodes."""

    @property
    def rest(self) -> list[Stage]:
        """The stages that are still to do, without those of which rungs will end as many."""
        spared = frozenset().union(*(saved.stages for saved in self.saved))
        return [stage for stage in self.pipeline.stages if stage.name not in self.done | spared]


def make_plan(
    file: PipelineFile,
    folder: PipelineFolder,
    pipeline: Pipeline,
    cluster: Cluster,
    runs: Path,
    counts: Mapping[str, int] = MappingProxyType({}),
) -> Plan:
    """Return the plan of a checked pipeline file; writes nothing. `counts` are what `require_data` returned."""
    states = {stage.name: observe(folder, pipeline, stage).state for stage in pipeline.stages}
    done = frozenset(name for name, state in states.items() if state in DONE)
    pruned = frozenset(name for name, state in states.items() if state == "pruned")
    folders = {name: run for name in done if (run := announced_run(folder, pipeline.stage(name))) is not None}
    ends = {name: run for name, run in folders.items() if pipeline.stage(name).until is None}
    records = {name: record for name, run in ends.items() if (record := completed(run)) is not None}
    known = finished_runs(runs)
    found = forecasts(file, cluster, known, folders, counts, list(bench_records(runs)))
    if isinstance(cluster, SlurmCluster):
        summaries = {name: asked.summary() for name, asked in allocations(file, cluster).items()}
        others = proposals(file, cluster, known, found)
    else:
        summaries, others = dict.fromkeys((stage.name for stage in pipeline.stages), cluster.summary()), {}
        summaries |= {stage.name: "1 process" for stage in pipeline.stages if not stage.trains}
    saved = tuple(saved_by_rungs(file, pipeline, found, pruned))
    return Plan(file, pipeline, cluster, done, pruned, saved, records, found, summaries, others)


def describe_plan(plan: Plan) -> Iterator[str]:
    """Yield the plan as text: the graph, the cost of each stage and of all, where the figures come from, commands."""
    total = len(plan.pipeline.stages)
    yield f"pipeline {plan.file.id}: {total} stages, {len(plan.done)} done already\n"
    hours = hours_of(forecast.has_gpus for forecast in plan.forecasts.values())
    head = [
        "stage",
        "after",
        "resources",
        "images",
        "images/s",
        "wall time",
        "took",
        hours,
        "requeues",
        "memory",
        "disk",
    ]
    yield aligned([head, *(_row(plan, stage) for stage in plan.pipeline.stages)])
    yield ""
    if isinstance(plan.cluster, LocalCluster) and not plan.cluster.has_gpus:
        yield from length_here(plan, by_arithmetic=True)
    else:
        yield from _sums(plan, hours)
    for saved in plan.saved:
        yield saved.in_words(hours, format_hours(saved.device_hours), format_hours(saved.of_hours))
    yield from _sources(plan)
    yield from _proposals(plan)
    yield from (f"warning: {said}" for said in (*misfits(plan.file), *rung_warnings(plan.file)))
    yield "\ncommands:"
    undone = (stage for stage in plan.pipeline.stages if stage.name not in plan.done)
    yield from (f"  {stage.name}\n    {shlex.join(stage.command)}" for stage in undone)


def _row(plan: Plan, stage: Stage) -> list[str]:
    forecast, record = plan.forecasts.get(stage.name), plan.records.get(stage.name)
    after = ", ".join(_short(stage.needs)) or "-"
    ended = "pruned" if stage.name in plan.pruned else "done" if stage.name in plan.done else "-"
    took = clock(record.seconds) if record is not None else ended
    where = plan.resources[stage.name]
    if forecast is None:
        return [stage.name, after, where, "-", "-", "-", took, "-", "-", "-", "-"]
    speed = forecast.speed
    return [
        *[stage.name, after, where],
        f"{forecast.images:,}" if forecast.images is not None else UNKNOWN,
        f"{speed.images_per_second * forecast.processes:,.0f}" if speed is not None else UNKNOWN,
        clock(forecast.seconds) if forecast.seconds is not None else UNKNOWN,
        took,
        format_hours(forecast.device_hours) if forecast.device_hours is not None else UNKNOWN,
        str(forecast.requeues) if forecast.requeues is not None else UNKNOWN,
        f"{forecast.memory_mb / 1000:,.1f} GB" if forecast.memory_mb is not None else UNKNOWN,
        f"{forecast.disk_mb / 1000:,.2f} GB" if forecast.disk_mb is not None else UNKNOWN,
    ]


def hours_of(has_gpus: Iterable[bool]) -> str:
    """Return the unit of what stages spend, by whether each has GPUs."""
    kinds = {*has_gpus}
    return "device hours" if len(kinds) > 1 else "GPU hours" if True in kinds else "process hours"


def format_hours(hours: float) -> str:
    """Return GPU or process hours as text: two digits below one hour, tenths above."""
    return f"{hours:,.1f}" if hours >= 1 or not hours else f"{hours:.2g}"


def _short(needs: tuple[str, ...], most: int = 2) -> list[str]:
    return list(needs) if len(needs) <= most else [needs[0], f"{len(needs) - 1} more"]


def _sums(plan: Plan, hours: str) -> Iterator[str]:
    rest = {stage.name: plan.forecasts[stage.name] for stage in plan.rest if stage.name in plan.forecasts}
    known = {name: seconds for name, found in rest.items() if (seconds := found.seconds) is not None}
    if not rest:
        return
    if not known:
        yield f"still to do: {len(rest)} trainings, whose cost is unknown"
        return
    spent = sum(found.device_hours or 0.0 for found in rest.values())
    wall = clock(makespan_s(plan.pipeline, known, plan.cluster.places))
    disk = sum(found.disk_mb or 0.0 for found in rest.values()) / 1000
    left_out = f"; {len(rest) - len(known)} of unknown cost not counted" if len(known) < len(rest) else ""
    yield f"still to do: {len(rest)} trainings, {format_hours(spent)} {hours}, {disk:,.1f} GB{left_out}"
    side = "all that can" if math.isinf(plan.cluster.places) else f"at most {plan.cluster.places}"
    yield f"wall time {wall} with {side} side by side; queues, start-up and evaluation come on top"


def length_here(plan: Plan, *, by_arithmetic: bool) -> Iterator[str]:
    """Yield how long a pipeline takes on this machine's CPU; nothing where nothing is to do.

    For trainings that nothing measured, the least that they take is counted `by_arithmetic`, which takes seconds.
    """
    rest = [found for stage in plan.rest if (found := plan.forecasts.get(stage.name)) is not None]
    if not rest:
        return
    yield from _sums(plan, hours_of([False]))
    unknown = [found for found in rest if found.seconds is None]
    if unknown:
        yield f"without a GPU: {_least(unknown, by_arithmetic)}"
        yield "  remedy: let a short run of each recipe finish (training.steps=...): then `mimbench pipeline plan` says"


def _least(unknown: Sequence[Forecast], by_arithmetic: bool) -> str:
    """Say how long trainings of unknown speed take at least on this machine, as far as that is known."""
    cores, stages = len(os.sched_getaffinity(0)), "1 training" if len(unknown) == 1 else f"{len(unknown)} trainings"
    unmeasured = f"no run has measured how many hours or days {stages} will take on {cores} CPU cores"
    if not by_arithmetic:
        return f"{unmeasured}; `mimbench pipeline plan` counts the least"
    floor = floor_of((found.training, found.images) for found in unknown if found.training is not None)
    if floor is None:
        return unmeasured
    days = floor.seconds / 86_400
    time = f"{days:,.0f} days" if days >= 2 else clock(floor.seconds)
    counted = stages if floor.trainings == len(unknown) else f"{floor.trainings} of {stages}"
    return (
        f"at least {time} for {counted} on {cores} CPU cores, by arithmetic: {floor.flops:.1e} FLOPs of the encoders "
        f"alone at {floor.flops_per_second / 1e9:,.0f} GFLOP/s, which matrix products reach here"
    )


def _proposals(plan: Plan) -> Iterator[str]:
    """Yield one line for each entry of the file whose stages would take fewer GPU hours on other nodes."""
    for name, found in plan.proposals.items():
        unit = hours_of([plan.forecasts[name].has_gpus])
        change = f"{format_hours(found.device_hours)} {unit} instead of {format_hours(found.now_hours)}"
        yield f"fewer {unit}: {found.field}.nodes={found.nodes} ({name}: {change}, {clock(found.seconds)} long)"


def _sources(plan: Plan) -> Iterator[str]:
    speeds = {found.speed.source for found in plan.forecasts.values() if found.speed is not None}
    yield from (f"images/s {source}" for source in sorted(speeds))
    rest = {stage.name: plan.forecasts[stage.name] for stage in plan.rest if stage.name in plan.forecasts}
    for missing in sorted({found.unknown for found in rest.values() if found.unknown is not None}):
        stages = [name for name, found in rest.items() if found.unknown == missing]
        yield f"{UNKNOWN} no run has measured {missing}: {', '.join(_short(tuple(stages), 3))}"
    if any(found.speed is None for found in rest.values()):
        yield "  remedy: let a short run of the same recipe finish, or state images_per_second in the cluster file"
