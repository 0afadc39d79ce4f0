"""Status, list, logs and cancel: what is known of launched pipelines from their folders and, on Slurm, from squeue."""

from __future__ import annotations

import contextlib
import signal
import time
from pathlib import Path

from rich.console import Console
from rich.live import Live

from benchmarks.errors import UserError, WorkFailed, did_you_mean, printable, printable_lines
from benchmarks.files.atomic import owner_of
from benchmarks.files.locks import holder_pid, is_held, read_holder, signal_process
from slurm.controller.jobs import cancel_jobs, read_jobs
from slurm.launch.manifest import set_entries
from slurm.state.folder import Manifest, PipelineFolder, hold, list_pipelines
from slurm.state.mark import came_from, how_it_came, require_in_place
from slurm.state.observe import DONE, LIVE, View, observe_all
from slurm.terminal import console_for_tables, describe, stage_table

CANCEL_PATIENCE_S = 30.0
WATCH_EVERY_S = 2.0


def look(folder: PipelineFolder) -> tuple[Manifest, dict[str, View], str]:
    """Return a launched pipeline's manifest and views, and why Slurm was not asked where it should have been, or ""."""
    manifest = folder.read_manifest()
    if (origin := came_from(folder)) is not None:
        remark = f"from files alone: the folder was {how_it_came(folder, origin)}, and jobs work there"
        return manifest, observe_all(folder, manifest), remark
    if manifest.cluster != "slurm":
        return manifest, observe_all(folder, manifest), ""
    try:
        queue = read_jobs(folder, manifest).entries
    except WorkFailed as error:
        return manifest, observe_all(folder, manifest), f"from files alone: {str(error).splitlines()[0]}"
    return manifest, observe_all(folder, manifest, queue), ""


def show_status(folder: PipelineFolder) -> int:
    """Print one row for each stage."""
    manifest, views, remark = look(folder)
    launcher = f", launcher: {read_holder(folder.lock_file)}" if is_held(folder.lock_file) else ""
    console = console_for_tables()
    console.print(stage_table(views, f"{folder.id} ({_summary(views)}{launcher})", _jobs(folder, manifest)))
    if remark:
        console.print(printable_lines(remark), markup=False)
    if all(view.state in DONE for view in views.values()):
        for page in sorted(folder.report.glob("*.html")):
            print(f"page: {page}")
    return 0


def watch_status(folder: PipelineFolder) -> int:
    """Show the status, drawn again every few seconds, until nothing is live any more or Ctrl-C; return 0."""
    with contextlib.suppress(KeyboardInterrupt), Live(console=Console(), auto_refresh=False) as screen:
        while True:
            manifest, views, _ = look(folder)
            screen.update(stage_table(views, f"{folder.id} ({_summary(views)})", _jobs(folder, manifest)), refresh=True)
            if not any(view.state in LIVE for view in views.values()):
                break
            time.sleep(WATCH_EVERY_S)
    return 0


def _jobs(folder: PipelineFolder, manifest: Manifest) -> dict[str, str]:
    """Return each stage's job: its id, where it runs or ran last, how often it was requeued."""
    found: dict[str, str] = {}
    for entry in manifest.entries:
        if entry.job is None:
            continue
        words, attempt = [entry.job.id], folder.read_attempt(entry.stage.name)
        if attempt is not None:
            job, _, restarts = (attempt.job or "").partition(".")
            words += [f"on {attempt.host}"]
            words += [f"requeued {restarts}x"] if job == entry.job.id and restarts not in ("", "0") else []
        found[entry.stage.name] = " ".join(words)
    return found


def show_list(root: Path) -> int:
    """Print one line for each pipeline below `root`, the last launched first."""
    folders = list_pipelines(root)
    if not folders:
        print(f"no pipelines in {root}")
    for folder in folders:
        try:
            manifest, views, _ = look(folder)
        except UserError:
            print(f"{printable(folder.id)}  (its manifest is damaged: submit its pipeline.yaml again)")
            continue
        except PermissionError as error:
            print(f"{printable(folder.id)}  (you may not read {error.filename})")
            continue
        print(f"{printable(folder.id)}  {manifest.cluster}  {_summary(views)}")
    return 0


def _summary(views: dict[str, View]) -> str:
    counts: dict[str, int] = {}
    for view in views.values():
        counts[view.state] = counts.get(view.state, 0) + 1
    return ", ".join(f"{number} {state}" for state, number in counts.items())


def show_log(folder: PipelineFolder, stage: str | None, follow: bool = False) -> int:
    """Print the log of a stage's last job, all of its starts in turn; `follow`: go on until the stage has ended.

    Where `stage` is None, it is the stage that failed first. Characters that would act on the terminal are escaped,
    colours too: libraries and data write into logs as well. Raises UserError when there is no such stage, or no log
    yet.
    """
    names = [entry.stage.name for entry in folder.read_manifest().entries]
    stage = stage or _failed_first(folder)
    if stage not in names:
        raise UserError.about("stage", stage, f"a stage of {folder.id}", did_you_mean(stage, names))
    log = folder.newest_log(stage)
    if log is None:
        state = look(folder)[1][stage]
        raise UserError.about("stage", stage, "a stage that has begun", f"wait for it; it is {describe(state)}")
    print(f"# {log}", flush=True)
    for other in folder.other_nodes_logs(log):
        print(f"# of another node: {other}", flush=True)
    with open(log, errors="replace") as lines, contextlib.suppress(KeyboardInterrupt):
        print(printable_lines(lines.read()), end="", flush=True)
        while follow and look(folder)[1][stage].state in LIVE:
            time.sleep(WATCH_EVERY_S)
            print(printable_lines(lines.read()), end="", flush=True)
    return 0


def _failed_first(folder: PipelineFolder) -> str:
    """Return the stage that failed before all others. Raises UserError where none has."""
    _, views, _ = look(folder)
    attempts = {name: folder.read_attempt(name) for name, view in views.items() if view.state == "failed"}
    ends = {name: attempt.finished_at or attempt.started_at for name, attempt in attempts.items() if attempt}
    if not ends:
        rule = f"named: no stage of {folder.id} has failed"
        raise UserError.about("stage", "(not given)", rule, f"add one of {', '.join(views)}")
    return min(ends, key=lambda name: ends[name])


def cancel(folder: PipelineFolder) -> int:
    """Stop a pipeline: stages save their state and end, jobs are cancelled. Completed stages stay completed.

    Raises WorkFailed where Slurm does not answer, or the pipeline cannot be stopped from here.
    """
    require_in_place(folder)
    manifest, views, remark = look(folder)
    if manifest.cluster == "slurm":
        if remark:
            raise WorkFailed(remark)
        stopped = _cancel_jobs(folder)
    else:
        live = [name for name, view in views.items() if view.state in LIVE]
        if not _stop_here(folder, live):
            remote = read_holder(folder.lock_file) or "another host"
            raise WorkFailed(f"{folder.id} does not stop from here: it is run by {remote}; cancel it there")
        stopped = ", ".join(live) or "nothing was running"
    print(f"cancelled {folder.id}: {stopped}; submitting it again continues")
    return 0


def _cancel_jobs(folder: PipelineFolder) -> str:
    """Cancel the folder's own jobs; return them in words."""
    with hold(folder.lock_file, f"pipeline {folder.id}", folder.id):
        manifest = folder.read_manifest()
        jobs = read_jobs(folder, manifest)
        cancel_jobs([job.id for job in jobs.own])
        set_entries(folder, manifest, {job.stage: {"state": "cancelled"} for job in jobs.own})
    if jobs.of_others:
        others = ", ".join(job.id for job in jobs.of_others)
        print(f"left alone, another folder's jobs of the same name: {others}")
    return ", ".join(f"{job.stage} (job {job.id})" for job in jobs.own) or "nothing was running"


def _stop_here(folder: PipelineFolder, live: list[str]) -> bool:
    """Ask the launcher to stop, or else the stages that an earlier one left behind; return whether all have ended.

    Raises WorkFailed where one of them is another person's.
    """
    locks = [folder.lock(stage) for stage in live]
    launcher = holder_pid(folder.lock_file)
    for pid in [launcher] if launcher is not None else [holder_pid(lock) for lock in locks]:
        if pid is not None and not signal_process(pid, signal.SIGTERM):
            owner = owner_of(Path(f"/proc/{pid}"))
            problem = f"{folder.id} is not yours to stop: process {pid} belongs to {owner}"
            raise WorkFailed(f"{problem}\n  remedy: have {owner} run `mimbench pipeline cancel {folder.id}`")
    deadline = time.monotonic() + CANCEL_PATIENCE_S
    while any(is_held(lock) for lock in [folder.lock_file, *locks]):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True
