"""Launching a pipeline, here or on Slurm, and printing how that went."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from benchmarks.errors import DONE_CODE, FAILED_CODE, STOPPED_CODE, UserError, printable, printable_lines
from slurm.controller.commands import ignored_options
from slurm.controller.partitions import find_misfits, read_site
from slurm.graph.cluster import Cluster, LocalCluster, SlurmCluster
from slurm.graph.entries import is_job_id
from slurm.graph.pipeline import PipelineFile
from slurm.graph.placing import allocations, stage_works
from slurm.graph.stages import REPORT, Pipeline, arrays, expand
from slurm.launch.before import jobs_before
from slurm.launch.manifest import prepare
from slurm.stage.notify import notify
from slurm.state.folder import Manifest, PipelineFolder, Places, hold
from slurm.state.observe import DONE, View
from slurm.terminal import clock, describe, open_display

if TYPE_CHECKING:
    from slurm.launch.sbatch import SlurmLauncher


def graph(file: PipelineFile, places: Places) -> tuple[PipelineFolder, Pipeline]:
    """Return the folder and the stages of a checked pipeline file; writes nothing."""
    folder = PipelineFolder(places.pipelines / file.id)
    return folder, expand(file, folder.path, places.runs)


def submit(file: PipelineFile, cluster: Cluster, places: Places) -> int:
    """Launch a pipeline, or go on with one that was launched before; return the exit code.

    Locally it stays until everything has ended; on Slurm it returns when all jobs are submitted.
    Raises UserError when another launcher is at work on it, and where no partition can start its stages
    or what it waits for has ended badly.
    """
    folder, pipeline = graph(file, places)
    before: list[str] = []
    notify_by = file.notify or cluster.notify
    if isinstance(cluster, SlurmCluster):
        require_room(file, cluster)
        before = jobs_before(file.after, folder.find_manifest() is None)
    with hold(folder.lock_file, f"pipeline {file.id}", file.id):
        manifest = prepare(folder, file, pipeline, cluster, places)
        if isinstance(cluster, LocalCluster):
            return _run_here(folder, manifest, cluster, notify_by)
        from slurm.launch.sbatch import SlurmLauncher

        asked = allocations(file, cluster)
        return _submit_there(SlurmLauncher(folder, manifest, asked, cluster.array_size, before, notify_by))


def _run_here(folder: PipelineFolder, manifest: Manifest, cluster: LocalCluster, notify_by: str | None) -> int:
    from slurm.launch.local import LocalLauncher

    started = time.monotonic()
    console = Console()
    print(f"pipeline {folder.id}: {len(manifest.entries)} stages, at most {cluster.places} at once", flush=True)
    display = open_display(console)
    launcher = LocalLauncher(folder, manifest, cluster, display, notify_by)
    try:
        views = launcher.launch()
    finally:
        display.close()
    if launcher.stop_requests:
        return _say_stopped(views)
    if launcher.processes:
        notify(notify_by, folder, launcher.manifest, REPORT)
    spent = f"wall time {clock(time.monotonic() - started)}" if launcher.processes else "nothing was left to do"
    return _say_ended(folder, views, spent)


def _say_stopped(views: Mapping[str, View]) -> int:
    done = sum(view.state in DONE for view in views.values())
    print(f"stopped: {done}/{len(views)} stages are done and kept.")
    for name, view in views.items():
        if view.state in ("stopped", "failed"):
            print(f"  {name} {describe(view)}")
    print("The same command continues from here.")
    return STOPPED_CODE


def _say_ended(folder: PipelineFolder, views: Mapping[str, View], spent: str) -> int:
    bad = {name: view for name, view in views.items() if view.state not in DONE}
    if views[REPORT].state == "completed":
        print(f"\n{_overview(folder).rstrip()}\n")
        for name in ("leaderboard.txt", "leaderboard.html"):
            if (folder.report / name).is_file():
                print(f"written: {folder.report / name}")
    print(f"{len(views) - len(bad)}/{len(views)} stages done, {spent}")
    for name, view in bad.items():
        print(f"  {name} {describe(view)}")
        if view.state == "failed" and (log := folder.newest_log(name)) is not None:
            print(f"    log: {log}\n{_tail(log)}")
    if bad:
        print("Launching again keeps what is done and runs the rest.")
    return FAILED_CODE if bad else DONE_CODE


def _overview(folder: PipelineFolder) -> str:
    """Return the beginning of the report; all of it where an earlier version wrote no beginning by itself."""
    beginning = folder.report / "overview.txt"
    return (beginning if beginning.is_file() else folder.report / "leaderboard.txt").read_text()


def _tail(log: Path, lines: int = 6) -> str:
    text = log.read_text(errors="replace").splitlines()
    return "\n".join(f"    | {printable_lines(line)}" for line in text[-lines:])


def require_room(file: PipelineFile, cluster: SlurmCluster) -> None:
    """Look whether the site's partitions can ever start the stages.

    Raises one UserError for all that cannot. Where Slurm is not here or does not answer, nothing is required.
    """
    site, asked = read_site(), allocations(file, cluster)
    fields = {stage: work.resources_field for work in stage_works(file) for stage in work.stages}
    named = {fields.get(stage, f"{REPORT}.resources"): found for stage, found in asked.items()}
    misfits = list(find_misfits(site, named)) if site is not None else []
    if misfits:
        raise UserError("nothing can be submitted:\n" + "\n".join(map(str, misfits)))


def _submit_there(launcher: SlurmLauncher) -> int:
    if names := ignored_options():
        print(f"ignored: {', '.join(names)}; the options of jobs stand in the cluster file (--cluster)", flush=True)
    for outcome in launcher.launch():
        print(f"  {outcome.stage:32} {outcome.what}{f': job {outcome.job}' if outcome.job else ''}")
        for job, pipeline in outcome.behind.items():
            print(f"    waits in the queue for job {job} of {printable(pipeline)}, which does the same work")
    if launcher.of_others:
        print(f"left alone, another folder's jobs of the same name: {', '.join(launcher.of_others)}")
    print(f"state: mimbench pipeline status {launcher.folder.id}")
    return DONE_CODE


def previews(file: PipelineFile, cluster: Cluster, places: Places) -> Sequence[str]:
    """Return what `submit` would run: commands here, sbatch scripts on Slurm."""
    folder, pipeline = graph(file, places)
    if isinstance(cluster, LocalCluster):
        return [shlex.join(stage.command) for stage in pipeline.stages]
    from slurm.launch.sbatch import preview

    asked = allocations(file, cluster)
    require_room(file, cluster)
    before = [name if is_job_id(name) else f"<{name}>" for name in file.after]
    return [
        preview(folder, asked[stages[0].name], stages, before, file.notify or cluster.notify)
        for stages in arrays(pipeline.stages, cluster.array_size)
    ]
