"""Which stages a rung of a sweep has ended, from its decision; and what a stage that trains to a rung left there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.errors import UserError
from benchmarks.runs.rungs import Decision, HeldOut, held_out_at
from slurm.graph.stages import Pipeline, Stage, decision_of
from slurm.state.folder import PipelineFolder, read_as


@dataclass(frozen=True)
class Ended:
    """Why a stage is not to be done."""

    why: str
    is_pruned: bool
    """Whether a rung compared its pretraining with others and kept these; otherwise something failed before it."""


def ended_by_rung(folder: PipelineFolder, pipeline: Pipeline, stage: Stage) -> Ended | None:
    """Return why a stage is not to be done, where a rung ended the pretraining that it is about; else None."""
    if stage.rung is not None and (found := _decided(folder, stage.rung, stage.member)) is not None:
        return found
    for name in stage.needs if stage.after == "success" else ():
        above = ended_by_rung(folder, pipeline, pipeline.stage(name))
        if above is not None and above.is_pruned:
            return above if stage.rung is not None else replace(above, why=f"with {name}, {above.why}")
    return None


def _decided(folder: PipelineFolder, rung: str, member: str) -> Ended | None:
    """Return what a rung says of a member that it did not keep; None for others, and before it has decided."""
    last = folder.read_attempt(rung)
    decision = read_as(Decision, folder.path / decision_of(rung)) if last is not None and last.exit_code == 0 else None
    found = decision.find(member) if decision is not None else None
    if decision is None or found is None or found.outcome == "kept":
        return None
    return Ended(f"at {decision.share:g} of its training: {found.why}", is_pruned=found.outcome == "pruned")


def measured_at_rung(stage: Stage, run: Path | None) -> HeldOut | None:
    """Return what a run measured at the rung to which the stage trains; None before it came there."""
    if run is None or stage.until is None:
        return None
    try:
        return held_out_at(run, stage.until)
    except UserError:
        return None
