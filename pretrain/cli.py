"""`mimbench pretrain`: a recipe and a data folder in, an encoder out."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from benchmarks.config import load_recipe
from benchmarks.runs.command import RECIPE_HELP, add_run_arguments, claim, require_root
from benchmarks.runs.identity import pretraining_id
from pretrain.recipe import PretrainRecipe
from pretrain.run.image_files import find_files

EPILOG = """example:
  mimbench pretrain simmim_swin_base_192_100ep data.root=/data/imagenet training.epochs=800

The run is named after what it is (recipe, data, seed). The same command again continues an unfinished run from its
last checkpoint, and says so when there is nothing left to do. Ctrl-C, SIGTERM and SIGUSR2 save and stop.
"""


def main(argv: Sequence[str]) -> int:
    """Run the verb; return the exit code."""
    args = _parser().parse_intermixed_args(argv)
    recipe = load_recipe(PretrainRecipe, "pretrain", args.recipe, args.overrides)
    if args.print:
        print(recipe.to_yaml(), end="")
        return 0
    root = require_root(recipe.config.data.root)
    files = find_files(recipe.config, root)
    digest, target = recipe.config.identity_digest(), recipe.config.target.content_digest()
    identity = pretraining_id(recipe.name, digest, str(files.fingerprint), args.seed, target)
    work = claim("pretrain", argv, args, recipe, root, files.fingerprint, identity)
    if work is None:
        return 0
    from pretrain.run.train import pretrain  # torch, only now that there is work

    record = pretrain(work, files)
    print(f"done: {work.folder.path} ({record.steps} steps, {record.seconds:.0f} s); encoder in {work.folder.encoder}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mimbench pretrain",
        description="Pretrain an encoder by SimMIM on a folder of images.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("recipe", metavar="RECIPE", help=RECIPE_HELP)
    add_run_arguments(parser)
    return parser
