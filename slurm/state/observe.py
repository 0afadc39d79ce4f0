"""What state a stage is in, from facts alone: its lock, its attempt, its run's record, and Slurm's queue.

Neither submitit's result files nor the exit code of a job decide anything here: both are known to say "success" of
work that did not finish.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmarks.config import RECIPES, digest_of
from benchmarks.errors import STOPPED_CODE, UserError
from benchmarks.files.locks import is_held
from benchmarks.files.regular import regular
from benchmarks.files.yaml_files import LARGEST_BYTES
from benchmarks.runs.folder import RunFolder, completed, follow, read_record
from benchmarks.runs.metrics_log import Progress, read_progress
from benchmarks.runs.record import RunRecord
from slurm.graph.stages import Pipeline, Stage
from slurm.state.attempt import Attempt
from slurm.state.folder import Manifest, PipelineFolder

State = Literal["waiting", "queued", "starting", "running", "completed", "failed", "skipped", "stopped"]
LIVE: tuple[State, ...] = ("queued", "starting", "running")
BAD: tuple[State, ...] = ("failed", "skipped", "stopped")


@dataclass(frozen=True)
class QueueEntry:
    """One job as squeue shows it."""

    state: str
    """PENDING, RUNNING, COMPLETING, ..."""
    reason: str
    """Why it is pending: Dependency, Resources, ..."""


Queue = Mapping[str, QueueEntry]
"""Slurm's live jobs by id."""


@dataclass(frozen=True)
class View:
    """A stage as a person sees it."""

    state: State
    why: str = ""
    progress: Progress | None = None
    seconds: float | None = None
    """How long the attempt has taken so far, or took."""


def observe_all(folder: PipelineFolder, manifest: Manifest, queue: Queue | None = None) -> dict[str, View]:
    """Return every stage's view, by name. `queue` is None where Slurm was not asked."""
    views: dict[str, View] = {}
    pipeline = manifest.pipeline
    for entry in manifest.entries:
        job = entry.job
        queued = queue.get(job.id) if queue is not None and job is not None and job.executor == "slurm" else None
        view = observe(folder, pipeline, entry.stage, queued)
        bad = [parent for parent in entry.stage.needs if parent in views and views[parent].state in BAD]
        if view.state == "waiting" and bad and entry.stage.after == "success":
            view = View("skipped", f"parent {bad[0]} {views[bad[0]].state}")
        elif view.state == "waiting" and queue is not None and job is not None and job.executor == "slurm":
            view = View("stopped", "its job left the queue before the stage began: was it cancelled?")
        views[entry.stage.name] = view
    return views


def observe(folder: PipelineFolder, pipeline: Pipeline, stage: Stage, queued: QueueEntry | None = None) -> View:
    """Return the view of one stage. `waiting`: no attempt since the last launch."""
    if is_held(folder.lock(stage.name)):  # asked first: once it is free, the attempt below is final
        return _at_work(folder, stage)
    attempt = folder.read_attempt(stage.name)
    current = attempt is not None and attempt.inputs_digest == inputs_digest(folder, pipeline, stage)
    if attempt is not None and current and _has_result(folder, stage, attempt):
        return View("completed", "", _progress(folder, stage), _seconds(attempt))
    if queued is not None and queued.state == "PENDING":
        return View("queued", queued.reason)
    if attempt is None:
        return View("starting") if queued is not None else View("waiting")
    if attempt.skipped is not None:
        return View("skipped", attempt.skipped)
    if attempt.finished_at is None and queued is not None:  # a file system without locks
        return _at_work(folder, stage)
    if attempt.exit_code == 0 and not current:
        return View("waiting", "its recipe or a parent changed since it ran")
    return _ended_badly(folder, stage, attempt)


def is_completed(folder: PipelineFolder, pipeline: Pipeline, stage: Stage) -> bool:
    """Tell whether the stage's work is done, with the same command, recipe and parents as it would have now."""
    return observe(folder, pipeline, stage).state == "completed"


def inputs_digest(folder: PipelineFolder, pipeline: Pipeline, stage: Stage) -> str:
    """Return a sha256 (hex) of all that decides what the stage does: command, recipe, and what its parents left."""
    recipe = _text(RECIPES / stage.recipe_file) if stage.recipe_file is not None else None
    parents = {name: _left_behind(folder, pipeline.stage(name)) for name in stage.needs}
    return digest_of({"argv": stage.argv, "recipe": recipe, "parents": parents})


def _text(path: Path) -> str | None:
    """Return a recipe's text; one that was moved or cannot be read is None, and so another one than before."""
    try:
        with regular(path).open("rb") as file:
            return file.read(LARGEST_BYTES).decode()
    except (OSError, UnicodeDecodeError):
        return None


def _has_result(folder: PipelineFolder, stage: Stage, attempt: Attempt) -> bool:
    if stage.announces:
        run = announced_run(folder, stage)
        return run is not None and completed(run) is not None
    return attempt.exit_code == 0 and (stage.product is None or (folder.path / stage.product).is_file())


def _left_behind(folder: PipelineFolder, stage: Stage) -> dict[str, str | None]:
    run = announced_run(folder, stage)
    record = _record(run)
    return {
        "run": run.name if run is not None else None,
        "status": record.status if record is not None else None,
        "finished_at": record.finished_at if record is not None else None,
        "encoder": record.exported_sha256 if record is not None else None,
    }


def announced_run(folder: PipelineFolder, stage: Stage) -> Path | None:
    """Return the run folder that the stage's verb announced; None as long as it has announced none."""
    if not stage.announces:
        return None
    try:
        return follow(folder.announcement(stage.name))
    except UserError:
        return None


def _record(run: Path | None) -> RunRecord | None:
    try:
        return read_record(run) if run is not None else None
    except UserError:
        return None


def _at_work(folder: PipelineFolder, stage: Stage) -> View:
    attempt = folder.read_attempt(stage.name)
    progress = _progress(folder, stage)
    return View("running" if progress is not None else "starting", "", progress, _seconds(attempt))


def _ended_badly(folder: PipelineFolder, stage: Stage, attempt: Attempt) -> View:
    progress, seconds = _progress(folder, stage), _seconds(attempt)
    if attempt.given_up_after is not None:
        last = _ended_badly(folder, stage, attempt.model_copy(update={"given_up_after": None}))
        starts = f"given up after {attempt.given_up_after} starts without a new checkpoint"
        return View("failed", f"{last.why}; {starts}", progress, seconds)
    if attempt.finished_at is None:
        return View("failed", "its process ended without saying why: was it killed, or out of memory?", progress, None)
    if attempt.exit_code == STOPPED_CODE:
        saved = (
            f"at step {progress.step} of {progress.total_steps}" if progress is not None else "before its first step"
        )
        return View("stopped", f"on request, {saved}", progress, seconds)
    if attempt.exit_code == 0:
        return View("failed", "ended with exit code 0, but left no completed record", progress, seconds)
    record = _record(announced_run(folder, stage))
    if attempt.cause is not None and not attempt.cause.is_in_the_record:
        return View("failed", attempt.cause.describe(), progress, seconds)
    why = record.error if record is not None and record.status == "failed" and record.error else "see its log"
    return View("failed", f"{why} (exit code {attempt.exit_code})", progress, seconds)


def _progress(folder: PipelineFolder, stage: Stage) -> Progress | None:
    run = announced_run(folder, stage)
    return read_progress(RunFolder(run).metrics) if run is not None else None


def saved_step(folder: PipelineFolder, stage: Stage) -> int:
    """Return the step of the last checkpoint of the stage's run; 0 where there is none."""
    record = _record(announced_run(folder, stage))
    return record.steps if record is not None else 0


def _seconds(attempt: Attempt | None) -> float | None:
    return (attempt.finished_at or time.time()) - attempt.started_at if attempt is not None else None
