"""`mimbench transfer` with its own command line, recipe, run folder and record, and no training."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks.config import load_recipe
from benchmarks.encoders import damage_of, find_architecture
from benchmarks.errors import UserError
from benchmarks.runs.folder import RunFolder, completed, follow
from benchmarks.runs.identity import transfer_id
from benchmarks.runs.record import EncoderUse, LoadReport, MetricValue, TaskUse
from benchmarks.verbs.command import add_run_arguments
from tests.slurm.stub.cheap_stage import work_on
from transfer.classification.recipe import FinetuneRecipe


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("task")
    parser.add_argument("--encoder", required=True)
    parser.add_argument("--recipe")
    parser.add_argument("--label")
    parser.add_argument("--epoch", type=int)
    add_run_arguments(parser)
    args = parser.parse_intermixed_args(argv)
    recipe = load_recipe(FinetuneRecipe, "transfer", args.recipe, args.overrides)
    use = _use(args.encoder, args.label)
    score = MetricValue(last=50.0 + args.seed, best=60.0, best_epoch=1)
    report = LoadReport(source_format="mimbench", loaded=1, expected=1, coverage_percent=100.0)
    task = TaskUse(name=args.task, version=1)
    fields = {
        "task": task,
        "encoder": use,
        "load_report": None if use.sha256 is None else report,
        "metrics": {"top1": score, "top5": score},
    }
    digest = recipe.config.identity_digest()
    return work_on(
        "transfer",
        argv,
        args,
        recipe,
        lambda data: transfer_id(recipe.name, digest, data, args.seed, task, use),
        **fields,
    )


def _use(reference: str, label: str) -> EncoderUse:
    sha256 = None
    if not reference.startswith("random:"):
        parent = completed(follow(Path(reference)))
        assert parent is not None, f"{reference} is not completed: the launcher started this stage too early"
        sha256 = parent.exported_sha256
        assert sha256 is not None
        if (damage := damage_of(RunFolder(follow(Path(reference))).encoder, sha256, by_content=True)) is not None:
            raise UserError(damage)
    return EncoderUse(
        label=label,
        reference=reference,
        method="none" if sha256 is None else "simmim",
        init_stage="random" if sha256 is None else "self-supervised",
        epochs=0,
        architecture=find_architecture("digits_swin"),
        sha256=sha256,
    )
