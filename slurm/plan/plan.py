"""`mimbench pipeline plan`: the graph, what is done already, and what the rest will cost."""

from __future__ import annotations

import math
import os
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from benchmarks.runs.bench_record import bench_records
from benchmarks.runs.folder import completed
from benchmarks.runs.record import RunRecord
from benchmarks.text.tables import aligned
from slurm.graph.cluster import Cluster, LocalCluster, SlurmCluster
from slurm.graph.pipeline import PipelineFile
from slurm.graph.placing import allocations
from slurm.graph.rungs import rung_warnings
from slurm.graph.stages import Pipeline, Stage
from slurm.graph.starts import misfits
from slurm.plan.arithmetic import floor_of
from slurm.plan.cost import Forecast, forecasts, makespan_s
from slurm.plan.estimate.estimate import Estimate
from slurm.plan.estimate.span import MARK, NOTHING, Span, rounded
from slurm.plan.nodes import Proposal, proposals
from slurm.plan.saved import Saved, saved_by_rungs
from slurm.plan.speed import finished_runs
from slurm.state.folder import PipelineFolder
from slurm.state.inputs import announced_run
from slurm.state.observe import DONE, observe
from slurm.terminal import clock

UNKNOWN = "?"
SHORT_RUN = "let a short run of each recipe finish (training.epochs=null training.steps=100)"


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
    speed, guess = forecast.speed, forecast.estimate if isinstance(forecast.estimate, Estimate) else None
    rate = None if speed is None else speed.images_per_second * forecast.processes
    time = None if guess is None else guess.seconds
    rates, memory, disk = (None,) * 3 if guess is None else (guess.images_per_second, guess.memory_mb, guess.disk_mb)
    images = None if guess is None else Span(guess.images, guess.images)
    return [
        *[stage.name, after, where],
        _cell(forecast.images, images, lambda found: f"{found:,.0f}", lambda found: f"{found:,.0f}"),
        _cell(rate, rates, lambda found: f"{found:,.0f}"),
        _cell(forecast.seconds, time, clock, clock),
        took,
        _cell(forecast.device_hours, None if time is None else time.times(forecast.processes / 3600), format_hours),
        _cell(
            forecast.requeues, None if time is None else forecast.requeues_in(time), str, lambda found: f"{found:.0f}"
        ),
        _cell(forecast.memory_mb, memory, lambda found: f"{found / 1000:,.1f} GB", _gb),
        _cell(forecast.disk_mb, disk, lambda found: f"{found / 1000:,.2f} GB", _gb),
    ]


Shown = Callable[[Any], str]


def _cell(known: float | None, estimated: Span | None, shown: Shown, guessed: Shown = rounded) -> str:
    """Return a figure as it was measured or counted, or else as it was estimated, marked, or else as unknown."""
    if known is not None:
        return shown(known)
    return UNKNOWN if estimated is None else estimated.text(guessed, " GB" if guessed is _gb else "")


def _gb(megabytes: float) -> str:
    return rounded(megabytes / 1000)


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
    known = {name: span for name, found in rest.items() if (span := found.span_s) is not None}
    if not rest:
        return
    if not known:
        yield f"still to do: {_trainings(rest)}, whose cost is unknown"
        return
    guessed = sum(found.estimated is not None for found in rest.values())
    spent, disk = NOTHING, NOTHING
    for name, span in known.items():
        spent = spent.plus(span.times(rest[name].processes / 3600))
        disk = disk.plus(rest[name].span_disk_mb)
    lengths = [{name: span[end] for name, span in known.items()} for end in (0, 1)]
    wall = Span(*(makespan_s(plan.pipeline, length, plan.cluster.places) for length in lengths))
    hours_spent, took = _sum(spent, format_hours, rounded), _sum(wall, clock, clock)
    space = _sum(disk.times(1e-3), lambda found: f"{found:,.1f}", rounded)
    by_arithmetic = f"; {guessed} of them by arithmetic" if guessed else ""
    left_out = f"; {len(rest) - len(known)} of unknown cost not counted" if len(known) < len(rest) else ""
    yield f"still to do: {_trainings(rest)}, {hours_spent} {hours}, {space} GB{by_arithmetic}{left_out}"
    places = plan.cluster.places
    side = "as many stages at once as can be" if math.isinf(places) else f"at most {places} stages at once"
    more = "queues come on top" if guessed == len(known) else "queues, start-up and evaluation come on top"
    yield f"wall time {took} with {side}; {more}"


def _trainings(found: Sized) -> str:
    return "1 training" if len(found) == 1 else f"{len(found)} trainings"


def _sum(span: Span, shown: Shown, guessed: Shown) -> str:
    """Return a sum; marked as an estimate where its ends differ."""
    return shown(span.low) if span.low == span.high else span.text(guessed)


def length_here(plan: Plan, *, by_arithmetic: bool) -> Iterator[str]:
    """Yield how long a pipeline takes on this machine's CPU; nothing where nothing is to do.

    For trainings that nothing measured, the least that they take is counted `by_arithmetic`, which takes seconds.
    """
    rest = [found for stage in plan.rest if (found := plan.forecasts.get(stage.name)) is not None]
    if not rest:
        return
    yield from _sums(plan, hours_of([False]))
    unknown = [found for found in rest if found.span_s is None]
    if unknown:
        yield f"without a GPU: {_least(unknown, by_arithmetic)}"
        yield f"  remedy: {SHORT_RUN}; `mimbench pipeline plan` then knows its speed"


def _least(unknown: Sequence[Forecast], by_arithmetic: bool) -> str:
    """Say how long trainings of unknown speed take at least on this machine, as far as that is known."""
    cores, stages = len(os.sched_getaffinity(0)), _trainings(unknown)
    unmeasured = f"no run has measured how many hours or days {stages} will take on {cores} CPU cores"
    if not by_arithmetic:
        return f"{unmeasured}; `mimbench pipeline plan` gives a lower bound"
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
    guesses = {name: guess for name, found in rest.items() if (guess := found.estimated) is not None}
    for source in sorted({guess.source for guess in guesses.values()}):
        stages = [name for name, guess in guesses.items() if guess.source == source]
        yield f"{MARK} by arithmetic, not measured: {source}: {', '.join(_short(tuple(stages), 3))}"
    if slow := [name for name, guess in guesses.items() if guess.bound == "loading"]:
        yield f"{MARK} may wait for its loaders (training.workers): {', '.join(_short(tuple(slow), 3))}"
    if large := [name for name, guess in guesses.items() if not guess.fits]:
        yield f"{MARK} may not fit into a GPU's memory: {', '.join(_short(tuple(large), 3))}"
        yield "  remedy: training.activation_checkpointing=true, training.sharded=true or training.accumulate=N"
    for missing in sorted({found.unknown for found in rest.values() if found.unknown is not None}):
        stages = [name for name, found in rest.items() if found.unknown == missing]
        yield f"{UNKNOWN} {', '.join(_short(tuple(stages), 3))}: nothing says {missing.reason}"
        yield f"  remedy: {missing.remedy}"
