"""Live jobs of other pipelines that do the same work: a stage is submitted behind them, not beside them.

An edited file is another pipeline, and what both have in common is one run. A stage that finds another at work on its
run waits for it; submitted behind the other's job, it does so in the queue, and holds no node meanwhile.
"""

from __future__ import annotations

from collections.abc import Collection

from slurm.controller.jobs import read_jobs
from slurm.graph.stages import Pipeline, announced_by, work_of
from slurm.state.folder import Manifest, PipelineFolder, list_pipelines

Work = tuple[object, ...]


def jobs_of_same_work(folder: PipelineFolder, manifest: Manifest, stages: Collection[str]) -> dict[str, dict[str, str]]:
    """Return, by stage, the live jobs of other pipelines beside this one that do its work, each with its pipeline's id.

    They are only waited for, whoever submitted them. Raises WorkFailed where Slurm does not answer.
    """
    ours: dict[Work, list[str]] = {}
    for name, work in _works(manifest.pipeline).items():
        if name in stages:
            ours.setdefault(work, []).append(name)
    found: dict[str, dict[str, str]] = {}
    for other in list_pipelines(folder.path.parent):
        there = other.find_manifest() if other.id != folder.id else None
        if there is None or there.cluster != "slurm" or there.workdir != manifest.workdir:
            continue
        alike = {name: ours[work] for name, work in _works(there.pipeline).items() if work in ours}
        live = read_jobs(other, there).by_stage if alike else {}
        for name in alike.keys() & live.keys():
            for stage in alike[name]:
                found.setdefault(stage, {})[live[name]] = other.id
    return found


def _works(pipeline: Pipeline) -> dict[str, Work]:
    """Return what each stage that makes a run does: its command, with the work of a parent where its encoder stands."""
    by_announcement: dict[str, Work] = {}
    works: dict[str, Work] = {}
    for stage in pipeline.stages:
        if stage.announces:
            works[stage.name] = tuple(by_announcement.get(word, word) for word in work_of(stage))
            by_announcement[announced_by(stage)] = works[stage.name]
    return works
