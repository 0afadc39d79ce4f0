"""What a stage's work depends on: its command, its recipe, and what its parents left; the run that it announced."""

from __future__ import annotations

from pathlib import Path

from benchmarks.config import RECIPES, digest_of
from benchmarks.errors import UserError
from benchmarks.files.regular import regular
from benchmarks.files.yaml_files import LARGEST_BYTES
from benchmarks.runs.folder import follow, read_record
from benchmarks.runs.record import RunRecord
from slurm.graph.stages import Pipeline, Stage
from slurm.state.folder import PipelineFolder
from slurm.state.rungs import measured_at_rung


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


def _left_behind(folder: PipelineFolder, stage: Stage) -> dict[str, str | None]:
    run = announced_run(folder, stage)
    if stage.until is not None:  # its run goes on, and what it left at the rung stays as it was
        measured = measured_at_rung(stage, run)
        return {"run": run.name if run else None, "held_out": repr(measured.loss) if measured else None}
    record = record_of(run)
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


def record_of(run: Path | None) -> RunRecord | None:
    """Return the record of a run folder; None where there is no folder, or no record that can be read."""
    try:
        return read_record(run) if run is not None else None
    except UserError:
        return None
