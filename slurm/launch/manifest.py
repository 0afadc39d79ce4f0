"""Writing a pipeline's manifest when it is launched, and clearing what an earlier launch left unfinished."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from benchmarks.files.atomic import write_atomically
from slurm.graph.cluster import Cluster
from slurm.graph.pipeline import PipelineFile
from slurm.graph.stages import Pipeline
from slurm.launch.snapshot import take_snapshot
from slurm.state.folder import Entry, Manifest, PipelineFolder, Places
from slurm.state.mark import came_from, claim, how_it_came
from slurm.state.observe import LIVE, observe


def prepare(
    folder: PipelineFolder, file: PipelineFile, pipeline: Pipeline, cluster: Cluster, places: Places
) -> Manifest:
    """Write the pipeline's folder and manifest, keeping the jobs of an earlier launch. The lock must be held.

    A folder that was moved or copied begins anew: the jobs and runs in its files belong to the place where it was.
    """
    folder.create()
    earlier = folder.find_manifest()
    if (origin := came_from(folder)) is not None:
        print(f"{folder.path} was {how_it_came(folder, origin)}: the jobs of that place are left alone", flush=True)
        earlier = None
        for stage in pipeline.stages:
            folder.forget_attempt(stage.name)
    claim(folder)
    write_atomically(folder.file, file.to_yaml().encode())
    write_atomically(folder.cluster, cluster.to_yaml().encode())
    jobs = {entry.stage.name: entry.job for entry in earlier.entries} if earlier is not None else {}
    entries = tuple(Entry(stage=stage, job=jobs.get(stage.name)) for stage in pipeline.stages)
    manifest = Manifest(
        id=pipeline.id,
        cluster=cluster.executor,
        workdir=str(Path.cwd()),
        places=places,
        code=str(take_snapshot(folder.path)),
        entries=entries,
    )
    folder.write_manifest(manifest)
    return manifest


def set_entries(folder: PipelineFolder, manifest: Manifest, changes: Mapping[str, Mapping[str, Any]]) -> Manifest:
    """Replace fields of some stages' entries, on disk too; return the new manifest."""
    entries = tuple(entry.model_copy(update=changes.get(entry.stage.name)) for entry in manifest.entries)
    manifest = manifest.model_copy(update={"entries": entries})
    folder.write_manifest(manifest)
    return manifest


def forget_unfinished(folder: PipelineFolder, pipeline: Pipeline, live: Collection[str] = ()) -> None:
    """Clear the attempts of all stages that are neither completed nor at work: this launch runs them again."""
    states = {stage.name: observe(folder, pipeline, stage).state for stage in pipeline.stages}
    for stage in pipeline.stages:
        if states[stage.name] not in ("completed", *LIVE) and stage.name not in live:
            folder.forget_attempt(stage.name)
