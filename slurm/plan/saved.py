"""What the rungs of sweeps save: the stages that will not be done, as far as that is known before they have decided."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from slurm.graph.entries import Pretrain
from slurm.graph.pipeline import PipelineFile
from slurm.graph.rungs import numbers_that_go_on
from slurm.graph.stages import Pipeline, Stage, rung_stage
from slurm.plan.cost import Forecast


@dataclass(frozen=True)
class Saved:
    """What the rungs of one sweep save."""

    sweep: str
    numbers: tuple[int, ...]
    """How many members there are, and how many are left after each rung."""
    shares: tuple[float, ...]
    stages: frozenset[str]
    """Stages that are not done. Which members a rung will end is not known before: where their cost differs, those
    that cost the least are taken, so that no more is promised than will be saved."""
    device_hours: float
    """Of those among them whose cost is known."""
    of_hours: float
    """What all members would take without rungs, to their end and on all tasks, likewise."""
    unknown: int
    """How many of `stages` are trainings of unknown cost."""

    def in_words(self, unit: str, hours: str, of_hours: str) -> str:
        """Return the sentence of a plan, with both numbers of hours as it shows them."""
        steps = "".join(f", {left} after {share}" for left, share in zip(self.numbers[1:], self.shares, strict=True))
        members = f"{self.numbers[0]} members{steps} of the training"
        if not self.of_hours:
            return f"the rungs of {self.sweep} save {len(self.stages)} stages, whose cost is unknown: {members}"
        unknown = f"; {self.unknown} trainings of unknown cost not counted" if self.unknown else ""
        return f"the rungs of {self.sweep} save at least {hours} of {of_hours} {unit}: {members}{unknown}"


def saved_by_rungs(
    file: PipelineFile, pipeline: Pipeline, forecasts: Mapping[str, Forecast], pruned: frozenset[str]
) -> Iterator[Saved]:
    """Yield what each sweep with rungs saves; `pruned` are the stages that rungs have ended already."""
    below = _children(pipeline)
    for name, entry in file.pretrain.items():
        if entry.rungs is None:
            continue
        ended = _ended(name, entry, pipeline, forecasts, pruned, below)
        first = pipeline.stage(rung_stage(name, entry.rungs[0])).needs
        every = set().union(*(_with_children(stage, below) for stage in first))
        yield Saved(
            sweep=name,
            numbers=tuple(numbers_that_go_on(entry)),
            shares=entry.rungs,
            stages=frozenset(ended),
            device_hours=_hours(ended, forecasts),
            of_hours=_hours(every, forecasts),
            unknown=sum(forecasts[one].device_hours is None for one in ended if one in forecasts),
        )


def _ended(
    name: str,
    entry: Pretrain,
    pipeline: Pipeline,
    forecasts: Mapping[str, Forecast],
    pruned: frozenset[str],
    below: Mapping[str, Sequence[Stage]],
) -> set[str]:
    """Return the stages of a sweep that its rungs end: as they decided, or else of as many as they will end."""
    ended: set[str] = set()
    for share, left in zip(entry.rungs or (), numbers_that_go_on(entry)[1:], strict=True):
        after = {
            stage.name: _with_children(stage.name, below)
            for stage in pipeline.stages
            if stage.rung == rung_stage(name, share)
        }
        gone = sorted(after, key=lambda stage: (stage not in ended | pruned, _hours(after[stage], forecasts)))
        for stage in gone[: max(0, len(gone) - left)]:
            ended |= after[stage]
    return ended


def _children(pipeline: Pipeline) -> dict[str, list[Stage]]:
    """Return the stages that a stage must be completed for, by its name."""
    found: dict[str, list[Stage]] = {}
    for stage in pipeline.stages:
        for name in stage.needs if stage.after == "success" else ():
            found.setdefault(name, []).append(stage)
    return found


def _with_children(name: str, below: Mapping[str, Sequence[Stage]]) -> set[str]:
    """Return a stage and all that cannot be done without it."""
    found, left = {name}, [name]
    while left:
        new = [child.name for child in below.get(left.pop(), ()) if child.name not in found]
        found |= {*new}
        left += new
    return found


def _hours(stages: set[str], forecasts: Mapping[str, Forecast]) -> float:
    return sum(forecasts[name].device_hours or 0.0 for name in stages if name in forecasts)
