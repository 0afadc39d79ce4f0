"""What state a stage is in, from facts alone: its lock, its attempt, its run's record, and Slurm's queue.

Neither submitit's result files nor the exit code of a job decide anything here: both are known to say "success" of
work that did not finish.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from benchmarks.encoders import damage_of
from benchmarks.errors import STOPPED_CODE
from benchmarks.files.locks import is_held
from benchmarks.runs.folder import RunFolder, completed
from benchmarks.runs.metrics_log import Progress, read_progress
from slurm.graph.stages import Pipeline, Stage
from slurm.state.attempt import Attempt
from slurm.state.folder import Entry, Manifest, PipelineFolder
from slurm.state.inputs import announced_run, inputs_digest, record_of
from slurm.state.last_words import ends_by_slurm, last_words
from slurm.state.rungs import ended_by_rung, measured_at_rung

State = Literal[
    "waiting", "queued", "starting", "running", "suspended", "completed", "pruned", "failed", "skipped", "stopped"
]
LIVE: tuple[State, ...] = ("queued", "starting", "running", "suspended")
AGAIN = "submitting again exports it from the last checkpoint"
BY_CANCEL = "cancelled by `mimbench pipeline cancel`"
HELD = "by Slurm or its administrators, who also let it go on (scontrol resume)"
DONE: tuple[State, ...] = ("completed", "pruned")
"""States in which nothing is left to do. `pruned`: a rung of a sweep ended the pretraining that the stage is about."""
BAD: tuple[State, ...] = ("failed", "skipped", "stopped")


@dataclass(frozen=True)
class QueueEntry:
    """One job as squeue shows it."""

    state: str
    """PENDING, RUNNING, COMPLETING, ..."""
    reason: str
    """Why it is pending: Dependency, Resources, ..."""

    @property
    def is_suspended(self) -> bool:
        return self.state in ("SUSPENDED", "STOPPED")


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
            view = _gone(folder, entry, job.id, views)
        elif view.state == "stopped" and entry.state == "cancelled":
            view = replace(view, why=f"{BY_CANCEL}, {_saved(view.progress)}")
        views[entry.stage.name] = view
    return views


def _gone(folder: PipelineFolder, entry: Entry, job: str, views: Mapping[str, View]) -> View:
    """Return the view of a stage whose job has left the queue and began nothing, with the reason that can be found."""
    if entry.state == "cancelled":
        return View("stopped", f"{BY_CANCEL} before it began")
    log = _log_of(folder, entry.stage, job)
    ends, words = [end for end in ends_by_slurm(log) if end.of_job], last_words(log)
    quoted = f": {words}" if words else ""
    if ends and ends[-1].why == "TIME LIMIT":
        return View("failed", f"TIMEOUT: its time limit was over before the stage began, in `setup`{quoted}")
    if ends:
        by = f"Slurm ended its job ({ends[-1].why.lower()})" if ends[-1].why else "its job was cancelled (scancel)"
        return View("stopped", f"{by} before the stage began{quoted}")
    if log is not None:
        return View("failed", f"its job ended before the stage began{quoted}")
    for parent in entry.stage.needs:
        last = folder.read_attempt(parent)
        if views[parent].state == "completed" and (last is None or last.exit_code != 0):
            why = f"Slurm withdrew its job: that of {parent} ended badly, though its work is done"
            return View("stopped", f"{why}; submitting again goes on")
    return View("stopped", "its job left the queue before the stage began: was it cancelled?")


def observe(folder: PipelineFolder, pipeline: Pipeline, stage: Stage, queued: QueueEntry | None = None) -> View:
    """Return the view of one stage. `waiting`: no attempt since the last launch."""
    if is_held(folder.lock(stage.name)):  # asked first: once it is free, the attempt below is final
        return _at_work(folder, stage, queued)
    attempt = folder.read_attempt(stage.name)
    current = attempt is not None and attempt.inputs_digest == inputs_digest(folder, pipeline, stage)
    if attempt is not None and current and _has_result(folder, stage, attempt):
        if (lost := _lost_encoder(folder, pipeline, stage)) is None:
            return View("completed", "", _progress(folder, stage), _seconds(attempt))
        if queued is None:
            return View("failed", f"done, but {lost}; {AGAIN}", _progress(folder, stage), _seconds(attempt))
    if (ended := ended_by_rung(folder, pipeline, stage)) is not None:
        return View("pruned" if ended.is_pruned else "skipped", ended.why)
    return _not_done(folder, stage, attempt, queued, current)


def _not_done(
    folder: PipelineFolder, stage: Stage, attempt: Attempt | None, queued: QueueEntry | None, current: bool
) -> View:
    """Return the view of a stage without a result; `current`: its last attempt did what another would do now."""
    if queued is not None and queued.state == "PENDING":
        return View("queued", _why_queued(folder, stage, attempt, queued), _progress(folder, stage))
    if attempt is None:
        return (
            View("waiting") if queued is None else View("suspended", HELD) if queued.is_suspended else View("starting")
        )
    if attempt.skipped is not None:
        return View("skipped", attempt.skipped)
    if attempt.finished_at is None and queued is not None:  # a file system without locks
        return _at_work(folder, stage, queued)
    if attempt.exit_code == 0 and not current:
        return View("waiting", "its recipe or a parent changed since it ran")
    return _ended_badly(folder, stage, attempt)


def is_completed(folder: PipelineFolder, pipeline: Pipeline, stage: Stage) -> bool:
    """Tell whether the stage's work is done, with the same command, recipe and parents as it would have now.

    So is that of a stage that a rung ended.
    """
    return observe(folder, pipeline, stage).state in DONE


def _has_result(folder: PipelineFolder, stage: Stage, attempt: Attempt) -> bool:
    if stage.announces:
        run = announced_run(folder, stage)
        return run is not None and (completed(run) is not None or measured_at_rung(stage, run) is not None)
    return attempt.exit_code == 0 and (stage.product is None or (folder.path / stage.product).is_file())


def _lost_encoder(folder: PipelineFolder, pipeline: Pipeline, stage: Stage) -> str | None:
    """Return what is wrong with a finished stage's encoder where a stage that is not done needs it, else None."""
    run = announced_run(folder, stage) if stage.until is None else None
    record = completed(run) if run is not None else None
    if run is None or record is None or record.exported_sha256 is None:
        return None
    lost = damage_of(RunFolder(run).encoder, record.exported_sha256)
    if lost is None:
        return None
    waiting = (child for child in pipeline.children(stage.name) if child.after == "success")
    return lost if any(not is_completed(folder, pipeline, child) for child in waiting) else None


def _at_work(folder: PipelineFolder, stage: Stage, queued: QueueEntry | None) -> View:
    attempt = folder.read_attempt(stage.name)
    progress = _progress(folder, stage)
    if queued is not None and queued.is_suspended:
        return View("suspended", HELD, progress, _seconds(attempt))
    return View("running" if progress is not None else "starting", "", progress, _seconds(attempt))


def _why_queued(folder: PipelineFolder, stage: Stage, attempt: Attempt | None, queued: QueueEntry) -> str:
    """Return why a job waits, and how often it had to give way to others before."""
    if attempt is None or attempt.job is None:
        return queued.reason
    ends = ends_by_slurm(_log_of(folder, stage, attempt.job))
    count = sum(end.of_job and end.why == "PREEMPTION" for end in ends)
    times = "once" if count == 1 else f"{count} times"
    return f"{queued.reason}; preempted {times}, {_saved(_progress(folder, stage))}" if count else queued.reason


def _log_of(folder: PipelineFolder, stage: Stage, job: str) -> Path | None:
    """Return the log of a Slurm job, `17`, or one of its starts, `17.2`; None where it has none."""
    log = folder.logs(stage.name) / f"{job.partition('.')[0]}_0_log.out"
    return log if log.is_file() else None


def _ended_badly(folder: PipelineFolder, stage: Stage, attempt: Attempt) -> View:
    progress, seconds = _progress(folder, stage), _seconds(attempt)
    if attempt.given_up_after is not None:
        last = _ended_badly(folder, stage, attempt.model_copy(update={"given_up_after": None}))
        starts = f"given up after {attempt.given_up_after} starts without a new checkpoint"
        return View("failed", f"{last.why}; {starts}", progress, seconds)
    if attempt.setup_failed is not None:
        return View("failed", f"`setup` ended with {attempt.setup_failed}", None, seconds)
    if attempt.finished_at is None or attempt.exit_code == STOPPED_CODE:
        return _ended_from_outside(folder, stage, attempt, progress)
    if attempt.exit_code == 0:
        return View("failed", "ended with exit code 0, but left no completed record", progress, seconds)
    record = record_of(announced_run(folder, stage))
    if attempt.cause is not None and not attempt.cause.is_in_the_record:
        return View("failed", attempt.cause.describe(), progress, seconds)
    why = record.error if record is not None and record.status == "failed" and record.error else ""
    why = why or last_words(folder.newest_log(stage.name)) or "see its log"
    return View("failed", f"{why} (exit code {attempt.exit_code})", progress, seconds)


def _ended_from_outside(folder: PipelineFolder, stage: Stage, attempt: Attempt, progress: Progress | None) -> View:
    """Return the view of a stage that was asked to stop, or that could not write how it ended."""
    was_asked, log = attempt.exit_code == STOPPED_CODE, folder.newest_log(stage.name)
    seconds = _seconds(attempt) if was_asked else None
    ends = ends_by_slurm(log, since=attempt.started_at)
    saved = _saved(progress) if was_asked else "without saving"
    if of_job := [end for end in ends if end.of_job]:
        if of_job[-1].why == "TIME LIMIT" and not was_asked:
            return View("failed", f"TIMEOUT: Slurm ended it at its time limit, {saved}", progress, seconds)
        words = {"": "cancelled (scancel)", "TIME LIMIT": "at its time limit", "PREEMPTION": "preempted"}
        return View("stopped", f"{words.get(of_job[-1].why, of_job[-1].why.lower())}, {saved}", progress, seconds)
    if ends:
        why = f"its batch script was killed, upon which Slurm ended the stage, {saved}"
        return View("failed", f"{why}; submitting again goes on", progress, seconds)
    if was_asked:
        by = "at its time limit" if attempt.noticed else "on request"
        return View("stopped", f"{by}, {saved}", progress, seconds)
    last = last_words(log)
    said = f"; its log ends: {last}" if last else ""
    return View("failed", f"its process ended without saying why: was it killed, or out of memory?{said}", progress)


def _saved(progress: Progress | None) -> str:
    return f"at step {progress.step} of {progress.total_steps}" if progress is not None else "before its first step"


def _progress(folder: PipelineFolder, stage: Stage) -> Progress | None:
    run = announced_run(folder, stage)
    progress = read_progress(RunFolder(run).metrics) if run is not None else None
    measured = measured_at_rung(stage, run)
    if progress is not None and measured is not None:  # the run may have gone on since
        return Progress(measured.step, progress.total_steps, loss=None, eta_seconds=None)
    return progress


def saved_step(folder: PipelineFolder, stage: Stage) -> int:
    """Return the step of the last checkpoint of the stage's run; 0 where there is none."""
    record = record_of(announced_run(folder, stage))
    return record.steps if record is not None else 0


def _seconds(attempt: Attempt | None) -> float | None:
    return (attempt.finished_at or time.time()) - attempt.started_at if attempt is not None else None
