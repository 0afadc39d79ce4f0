"""Writing a pipeline's manifest when it is launched, and clearing what an earlier launch left unfinished."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from benchmarks.encoders import MANIFEST, damage_of
from benchmarks.errors import WRONG_CODE
from benchmarks.files.atomic import write_atomically
from benchmarks.files.locks import is_held
from benchmarks.runs.folder import RunFolder, completed
from slurm.graph.cluster import Cluster
from slurm.graph.pipeline import PipelineFile
from slurm.graph.stages import Pipeline
from slurm.launch.snapshot import take_snapshot
from slurm.state.folder import Entry, Manifest, PipelineFolder, Places
from slurm.state.inputs import announced_run
from slurm.state.mark import came_from, claim, how_it_came
from slurm.state.observe import DONE, LIVE, observe


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
    """Clear the attempts of all stages that are neither done nor at work: this launch runs them again."""
    _forget_damaged_encoders(folder, pipeline)
    states = {stage.name: observe(folder, pipeline, stage).state for stage in pipeline.stages}
    for stage in pipeline.stages:
        if states[stage.name] not in (*DONE, *LIVE) and stage.name not in live:
            folder.forget_attempt(stage.name)


def _forget_damaged_encoders(folder: PipelineFolder, pipeline: Pipeline) -> None:
    """Remove the manifest of each encoder that a stage was refused and that proves to be damaged: it is lost then.

    Only the weights' bytes show that, which is why the parents of refused stages alone are read.
    """
    refused = [
        stage for stage in pipeline.stages if (last := folder.read_attempt(stage.name)) and last.exit_code == WRONG_CODE
    ]
    for name in sorted({parent for stage in refused for parent in stage.needs}):
        run = announced_run(folder, pipeline.stage(name))
        record = completed(run) if run is not None else None
        if run is None or record is None or record.exported_sha256 is None or is_held(run / ".lock"):
            continue
        encoder = RunFolder(run).encoder
        if (encoder / MANIFEST).is_file() and damage_of(encoder, record.exported_sha256, by_content=True):
            print(f"the encoder of {name} is damaged, and exported again from its run's last checkpoint", flush=True)
            (encoder / MANIFEST).unlink()
