"""`mimbench pretrain` with its own command line, recipe, run folder and record, and no training."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from benchmarks.config import load_recipe
from benchmarks.runs.identity import pretraining_id
from benchmarks.verbs.command import add_run_arguments
from pretrain.recipe import PretrainRecipe
from tests.slurm.stub.cheap_stage import work_on


def main(argv: Sequence[str], find_initial: object) -> int:  # noqa: ARG001 (this one starts from nothing)
    parser = argparse.ArgumentParser()
    parser.add_argument("recipe")
    parser.add_argument("--until", type=float)
    add_run_arguments(parser)
    args = parser.parse_intermixed_args(argv)
    recipe = load_recipe(PretrainRecipe, "pretrain", args.recipe, args.overrides)
    digest = recipe.config.identity_digest()
    return work_on(
        "pretrain", argv, args, recipe, lambda data: pretraining_id(recipe.name, digest, data, args.seed, None)
    )
