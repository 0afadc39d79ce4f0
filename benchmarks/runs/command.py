"""What every verb that makes a run shares: its arguments, claiming the run's folder, the first record."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal

from benchmarks.config import C_co, Recipe
from benchmarks.data.fingerprint import Fingerprint
from benchmarks.data.remote.paths import data_path
from benchmarks.encoders import damage_of, misfit
from benchmarks.errors import UserError
from benchmarks.ranks import world_size
from benchmarks.runs.environment import describe
from benchmarks.runs.folder import RunFolder, announce, completed
from benchmarks.runs.record import DataUse, EncoderUse, RecipeUse, RunRecord, now

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
    """Add seed, folders, --print and the `key=value` overrides."""
    # A default keeps argparse from saying that overrides are required too, where the recipe is missing.
    parser.add_argument(
        "overrides", nargs="*", default=[], metavar="key=value", help="set any field of the recipe: a.b=c"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed for weights, order, masks, augmentation (default 0)")
    parser.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR", help="where runs lie (default runs/)")
    parser.add_argument("--print", action="store_true", help="print the resolved recipe and stop")
    parser.add_argument(
        "--announce", type=Path, metavar="FILE", help="write where the run lies to FILE (used between stages)"
    )


def add_weights_arguments(parser: argparse._ActionsContainer, encoder: str = "the checkpoint") -> None:
    """Add what says which weights of a file are meant, and that odd ones are."""
    parser.add_argument(
        "--weights", metavar="KEY", help=f"the set of weights of {encoder} to take, where it holds several: model_ema"
    )
    parser.add_argument(
        "--prefix", metavar="NAME", help=f"what the encoder's names in {encoder} begin with, where it holds several"
    )
    parser.add_argument(
        "--allow-implausible-weights",
        action="store_true",
        help="go on with weights that are constant, not finite or as a fresh initialisation; the record says so",
    )


def require_root(root: str | None) -> Path:
    """Return the data folder, or a RemotePath. Raises UserError when the recipe names none."""
    if root is None:
        raise UserError.about("data.root", "(not given)", "the folder of the data set", "add data.root=FOLDER")
    return data_path(root)


def claim(
    verb: str,
    argv: Sequence[str],
    args: argparse.Namespace,
    recipe: Recipe[C_co],
    root: Path,
    fingerprint: Fingerprint,
    identity: str,
) -> Work[C_co] | None:
    """Return the work of the run id `identity`, announced; None when it is already done.

    A finished run whose encoder is damaged or gone exports it again from its last checkpoint. Where no checkpoint is
    left, only a pipeline, which has a use for the encoder, trains it again.
    """
    folder = RunFolder(args.runs / identity)
    announce(args.announce, folder.path, getattr(args, "label", None))
    if (done := completed(folder.path)) is not None:
        lost = None if (sha := done.exported_sha256) is None else damage_of(folder.encoder, sha, by_content=True)
        has_checkpoint = folder.checkpoints.is_dir() and any(folder.checkpoints.iterdir())
        if lost is None or not (has_checkpoint or args.announce):
            remark = "" if lost is None else f"; no checkpoint is left to export its encoder from: {lost}"
            print(f"already done: {folder.path} (delete the folder to run it again){remark}")
            return None
        remedy = "exported again from the last checkpoint" if has_checkpoint else "no checkpoint is left: trained again"
        print(f"done, but its encoder is lost, and {remedy}: {lost}")
    return Work(recipe, args.seed, root, fingerprint, folder, ("mimbench", verb, *argv))


def first_record(kind: Literal["pretrain", "transfer"], work: Work[Any], device: str, **fields: Any) -> RunRecord:
    """Return the `started` record of a run; `fields` are those that differ from verb to verb."""
    encoder: EncoderUse | None = fields.get("encoder")
    starts_from = getattr(work.config, "starts_from", None)
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
        started_at=now(),
        **fields,
    )
