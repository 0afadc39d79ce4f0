"""What every verb that makes a run shares: its arguments, claiming the run's folder, the first record."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal

from benchmarks import plugins
from benchmarks.config import C_co, Recipe
from benchmarks.data.fingerprint import Fingerprint
from benchmarks.data.remote.paths import data_path
from benchmarks.encoders import damage_of, misfit
from benchmarks.errors import UserError, require_text
from benchmarks.ranks import world_size
from benchmarks.runs.environment import describe, way_back
from benchmarks.runs.folder import RunFolder, announce, completed
from benchmarks.runs.record import DataUse, EncoderUse, RecipeUse, RunRecord, now
from benchmarks.training.numbers import require_seed
from benchmarks.verbs.result import RunResult

RUNS = "runs"
"""The folder of runs, where none is named."""
RECIPE_HELP = "a recipe's name (`mimbench list recipes`) or the path of a YAML file"


@dataclass(frozen=True)
class Work(Generic[C_co]):
    """A run that is to be done: what, on which data, where its files go, and the command that asked for it."""

    recipe: Recipe[C_co]
    seed: int
    root: Path
    fingerprint: Fingerprint
    folder: RunFolder
    command: tuple[str, ...]

    @property
    def config(self) -> C_co:
        return self.recipe.config


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add data, seed, folders, --print and the `key=value` overrides."""
    # A default keeps argparse from saying that overrides are required too, where the recipe is missing.
    parser.add_argument(
        "overrides", nargs="*", default=[], metavar="key=value", help="set any field of the recipe: a.b=c"
    )
    parser.add_argument("--data", metavar="DIR", help="where the data lie: the same as data.root=DIR")
    parser.add_argument("--seed", type=int, default=0, help="seed for weights, order, masks, augmentation (default 0)")
    parser.add_argument("--runs", type=Path, default=Path(RUNS), metavar="DIR", help="where runs lie (default runs/)")
    parser.add_argument("--print", action="store_true", help="print the resolved recipe and stop")
    parser.add_argument(
        "--announce", type=Path, metavar="FILE", help="write where the run lies to FILE (used between stages)"
    )


def require_root(root: str | None) -> Path:
    """Return the data folder, or a RemotePath. Raises UserError when the recipe names none."""
    if root is None:
        raise UserError.about("data.root", "(not given)", "the folder of the data set", "add data.root=FOLDER")
    return data_path(root)


@dataclass(frozen=True)
class Placing:
    """Where a run goes, and by which seed it draws; the fields are those of `add_run_arguments`."""

    seed: int = 0
    runs: Path = Path(RUNS)
    announce: Path | None = None
    label: str | None = None
    """What the encoder is called by whoever waits for the announcement."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "seed", require_seed(self.seed, "seed"))
        require_text("label", self.label)


def command_line(
    verb: str, words: Sequence[str], options: Mapping[str, object], overrides: Sequence[str], placing: Placing
) -> tuple[str, ...]:
    """Return the command that does the same again. Options that are None, False or empty are left out."""
    placed = {"seed": placing.seed or None, "runs": None if placing.runs == Path(RUNS) else placing.runs}
    return ("mimbench", verb, *words, *as_arguments({**options, **placed}), *overrides)


def as_arguments(options: Mapping[str, object]) -> list[str]:
    """Return options by their fields' names as a command has them; those that are None, False or empty are left out."""
    found = []
    for name, value in options.items():
        if value is not None and value is not False and value != "":
            found += [f"--{name.replace('_', '-')}", *([] if value is True else [str(value)])]
    return found


def claim(
    command: tuple[str, ...],
    placing: Placing,
    recipe: Recipe[C_co],
    root: Path,
    fingerprint: Fingerprint,
    identity: str,
) -> Work[C_co] | RunResult:
    """Return the work of the run id `identity`, announced; the finished run where it is already done.

    A finished run whose encoder is damaged or gone exports it again from its last checkpoint. Where no checkpoint is
    left, only a pipeline, which has a use for the encoder, trains it again.
    """
    folder = RunFolder(placing.runs / identity)
    announce(placing.announce, folder.path, placing.label)
    if (done := completed(folder.path)) is not None:
        lost = None if (sha := done.exported_sha256) is None else damage_of(folder.encoder, sha, by_content=True)
        has_checkpoint = folder.checkpoints.is_dir() and any(folder.checkpoints.iterdir())
        if lost is None or not (has_checkpoint or placing.announce):
            remark = "" if lost is None else f"no checkpoint is left to export its encoder from: {lost}"
            return RunResult(folder.path, done, done_before=True, remark=remark)
        remedy = "exported again from the last checkpoint" if has_checkpoint else "no checkpoint is left: trained again"
        print(f"done, but its encoder is lost, and {remedy}: {lost}")
    return Work(recipe, placing.seed, root, fingerprint, folder, command)


def already_done(run: RunResult) -> str:
    """Return in words that a run was completed before."""
    remark = f"; {run.remark}" if run.remark else ""
    return f"already done: {run.folder} (delete the folder to run it again){remark}"


def first_record(kind: Literal["pretrain", "transfer"], work: Work[Any], device: str, **fields: Any) -> RunRecord:
    """Return the `started` record of a run; `fields` are those that differ from verb to verb."""
    encoder: EncoderUse | None = fields.get("encoder")
    starts_from = getattr(work.config, "starts_from", None)
    for name in getattr(getattr(work.config, "training", None), "callbacks", ()):
        plugins.required("callbacks", name, "training.callbacks")
    return RunRecord(
        run_id=work.folder.path.name,
        kind=kind,
        status="started",
        seed=work.seed,
        recipe=RecipeUse(
            name=work.recipe.name,
            overrides=work.recipe.overrides,
            digest=work.config.identity_digest(),
            resolved=work.config.model_dump(mode="json"),
            placement=work.config.placement_fields(),
            beside_digest=work.config.fields_beside_identity(),
            misfit=misfit(starts_from, encoder.init_stage) if encoder is not None else None,
        ),
        data=DataUse(
            root=str(work.root),
            fingerprint=str(work.fingerprint),
            images=work.fingerprint.images,
            parts=dict(work.fingerprint.parts),
            sample=work.fingerprint.sample,
        ),
        environment=describe(device),
        processes=world_size(),
        command=work.command,
        started_in=way_back(work.folder.path),
        started_at=now(),
        **fields,
    )
