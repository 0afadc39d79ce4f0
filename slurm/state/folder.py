"""The folder of a pipeline: its file, its manifest, and what each stage's last attempt left behind.

pipelines/<id>/pipeline.yaml          the file, resolved
pipelines/<id>/cluster.yaml           where it was launched last
pipelines/<id>/code/<digest>/         the program as it was when stages were submitted
pipelines/<id>/manifest.json          stages with command, needs, job and last known state
pipelines/<id>/stages/<stage>.json    where the stage's run lies, written by the verb itself
pipelines/<id>/attempts/<stage>.json  the last attempt: process, beginning, end; its .lock is held while it lives
pipelines/<id>/logs/<stage>/          what was submitted and the log of every attempt; of an array's task, links
pipelines/<id>/rungs/                 what the rungs of sweeps decided
pipelines/<id>/report/                the comparison
pipelines/<id>/.mark.json             by which its jobs are known: see slurm.state.mark
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import model_validator

from benchmarks.config import Config, PathText
from benchmarks.errors import UserError, did_you_mean
from benchmarks.files.atomic import make_folder, write_atomically
from benchmarks.files.json_files import path_from, read_json_bytes
from benchmarks.files.locks import Locked, locked, read_holder, sign
from slurm.graph.stages import Pipeline, Stage
from slurm.state.attempt import Attempt


class Job(Config):
    """A submitted stage: a Slurm job, or a process that the launcher on this machine started."""

    executor: Literal["local", "slurm"]
    id: str
    gpus: tuple[int, ...] = ()
    """The GPUs that a local stage was given."""


class Entry(Config):
    """One stage in the manifest."""

    stage: Stage
    job: Job | None = None
    state: str = "waiting"
    """As the launcher or the stage's end last saw it; the truth is `slurm.state.observe.observe`."""


class Places(Config):
    """The folders of pipelines and runs, as they were given: relative to the working directory, or absolute."""

    pipelines: Path = Path("pipelines")
    runs: Path = Path("runs")


class Manifest(Config):
    """What was launched, from which working directory."""

    schema_version: Literal[1] = 1
    id: str
    cluster: str
    workdir: PathText
    """Relative paths in the commands start here."""
    places: Places = Places()
    code: PathText
    """The snapshot of the program that newly submitted stages run."""
    entries: tuple[Entry, ...]

    @model_validator(mode="after")
    def _is_a_graph(self) -> Manifest:
        """Refuse what a damaged or foreign file may have: names that lead elsewhere, needs that no stage meets."""
        known: set[str] = set()
        for stage in (entry.stage for entry in self.entries):
            if path_from(stage.name).name != stage.name or stage.name in known:
                raise ValueError("each stage under one plain name")
            if not known.issuperset(stage.needs):
                raise ValueError(f"{stage.name} after what it needs")
            known.add(stage.name)
        return self

    @property
    def pipeline(self) -> Pipeline:
        return Pipeline(id=self.id, stages=tuple(entry.stage for entry in self.entries))

    def enter_workdir(self) -> None:
        """Go to the working directory from which the pipeline was launched. Raises UserError where it is gone."""
        try:
            os.chdir(self.workdir)
        except PermissionError:
            raise
        except OSError as error:
            rule = f"the folder from which {self.id} was launched, which its relative paths start from"
            remedy = "bring it back, or submit the pipeline's file again from another one"
            raise UserError.about("workdir", f"{self.workdir} ({error.strerror})", rule, remedy) from None

    def entry(self, stage: str) -> Entry:
        return next(entry for entry in self.entries if entry.stage.name == stage)


class PipelineFolder:
    """The paths of one pipeline, and how its files are read and written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.id = path.resolve().name
        self.file = path / "pipeline.yaml"
        self.cluster = path / "cluster.yaml"
        self.manifest = path / "manifest.json"
        self.report = path / "report"
        self.lock_file = path / ".lock"
        """Held by the launcher, and by it alone."""

    def announcement(self, stage: str) -> Path:
        """Return the file in which the stage's verb names its run folder."""
        return self.path / "stages" / f"{stage}.json"

    def attempt(self, stage: str) -> Path:
        """Return the file of the stage's last attempt."""
        return self.path / "attempts" / f"{stage}.json"

    def lock(self, stage: str) -> Path:
        """Return the lock that the stage's process holds."""
        return self.path / "attempts" / f"{stage}.lock"

    def logs(self, stage: str) -> Path:
        """Return the folder of the stage's scripts and logs."""
        return self.path / "logs" / stage

    def newest_log(self, stage: str) -> Path | None:
        """Return the log of the last attempt, on its first node; None when there is none."""
        logs = [log for log in self.logs(stage).glob("*_0_log.out") if log.is_file()]
        return max(logs, key=lambda log: log.stat().st_mtime_ns) if logs else None

    def other_nodes_logs(self, log: Path) -> list[Path]:
        """Return what the other nodes of the attempt with this log have written."""
        job = log.name.removesuffix("_0_log.out")
        return sorted(other for other in log.parent.glob(f"{job}_*_log.out") if other != log and other.is_file())

    def create(self) -> None:
        """Make the folders that launchers and stages write into."""
        for name in ("stages", "attempts", "logs"):
            make_folder(self.path / name)

    def read_manifest(self) -> Manifest:
        """Return the manifest. Raises UserError when it is missing or damaged."""
        found = read_as(Manifest, self.manifest)
        if found is None:
            remedy = "submit the pipeline again; finished stages are kept"
            raise UserError.about(str(self.manifest), "(missing or damaged)", "a manifest of schema version 1", remedy)
        return found

    def find_manifest(self) -> Manifest | None:
        """Return the manifest; None when it is missing or damaged."""
        return read_as(Manifest, self.manifest)

    def write_manifest(self, manifest: Manifest) -> None:
        write_atomically(self.manifest, manifest.model_dump_json(indent=2).encode())

    def read_attempt(self, stage: str) -> Attempt | None:
        """Return the stage's last attempt; None when it has none, or a damaged one."""
        return read_as(Attempt, self.attempt(stage))

    def write_attempt(self, stage: str, attempt: Attempt) -> None:
        write_atomically(self.attempt(stage), attempt.model_dump_json(indent=2).encode())

    def forget_attempt(self, stage: str) -> None:
        """Clear what the last attempt left, so that whatever is found later is the next one's."""
        self.attempt(stage).unlink(missing_ok=True)
        self.announcement(stage).unlink(missing_ok=True)


LARGEST_BYTES = 2**28
"""Of a manifest, which has about 1 kB for each stage."""
T = TypeVar("T", bound=Config)


def read_as(schema: type[T], path: Path) -> T | None:
    """Return what a JSON file holds; None when it is missing or damaged. PermissionError is passed on."""
    try:
        return schema.model_validate_json(read_json_bytes(path, LARGEST_BYTES))
    except PermissionError:
        raise
    except (OSError, ValueError):
        return None


class Held(UserError):
    """Another process holds the lock."""


@contextlib.contextmanager
def hold(path: Path, what: str, pipeline: str) -> Iterator[None]:
    """Hold the lock file `path`, with our process id and host written in it. Raises Held when another process does.

    `what` is held, of the pipeline with this id.
    """
    try:
        with locked(path) as handle:
            sign(handle)
            yield
    except Locked:
        rule = f"worked on by one process at a time, now by {read_holder(path) or 'an unknown one'}"
        remedy = (
            f"wait for it (`mimbench pipeline status {pipeline}`), or stop it: `mimbench pipeline cancel {pipeline}`"
        )
        raise Held.about(what, str(path.parent), rule, remedy) from None


def find_pipeline(root: Path, text: str) -> PipelineFolder:
    """Return the pipeline folder named by its path, its id, or any beginning that only one id has.

    Raises UserError where `text` names none or several.
    """
    if (Path(text) / "manifest.json").is_file():
        return PipelineFolder(Path(text))
    known = list_pipelines(root)
    found = [folder for folder in known if folder.id == text] or [f for f in known if f.id.startswith(text)]
    if len(found) == 1:
        return found[0]
    if not known:
        remedy = "`mimbench pipeline submit FILE` launches one; --pipelines FOLDER says where they lie"
        raise UserError.about("pipeline", text, f"a pipeline that was launched: {root}/ has none", remedy)
    rule = f"the id of one pipeline in {root}/" + (f" ({len(found)} begin so)" if found else "")
    raise UserError.about("pipeline", text, rule, did_you_mean(text, [folder.id for folder in known]))


def list_pipelines(root: Path) -> list[PipelineFolder]:
    """Return the launched pipelines below `root`, the last launched first."""
    manifests = sorted(root.glob("*/manifest.json"), key=lambda path: path.stat().st_mtime, reverse=True)
    return [PipelineFolder(path.parent) for path in manifests]
