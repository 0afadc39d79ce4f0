"""`mimbench pretrain`: a recipe and a data folder in, an encoder out."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from typing import get_args

from benchmarks.config import load_recipe
from benchmarks.encoders import TrainedStage
from benchmarks.errors import Paused, UserError
from benchmarks.runs.command import RECIPE_HELP, Work, add_run_arguments, add_weights_arguments, claim, require_root
from benchmarks.runs.identity import pretraining_id
from benchmarks.runs.initial import FindInitial, InitialEncoder
from pretrain.recipe import PretrainRecipe

EPILOG = """example:
  mimbench pretrain simmim_swin_base_192_100ep data.root=/data/imagenet training.epochs=800

  mimbench pretrain simmim_swin_base_192_100ep --initial runs/RUN_ID data.root=/data/own_images

The run is named after what it is (recipe, data, seed, initial weights). The same command again continues an unfinished
run from its last checkpoint, and says so when there is nothing left to do. Ctrl-C, SIGTERM and SIGUSR2 save and stop.
"""


DESCRIBING = (
    *("stage", "architecture", "epoch", "with_head", "pretrained_on"),
    *("weights", "prefix", "allow_implausible_weights"),
)
"""Options that say more of what `--initial` names."""


def main(argv: Sequence[str], find_initial: FindInitial) -> int:
    """Run the verb; return the exit code. `find_initial` opens what `--initial` names."""
    args = _parser().parse_intermixed_args(argv)
    recipe = load_recipe(PretrainRecipe, "pretrain", args.recipe, args.overrides)
    if args.print:
        print(recipe.to_yaml(), end="")
        return 0
    _check_pause(args.until, recipe.config)
    from pretrain.run.image_files import find_images  # NumPy, which the above needs not

    root = require_root(recipe.config.data.root)
    found = find_images(recipe.config, root)
    initial = _initial(args, find_initial)
    digest, target = recipe.config.identity_digest(), recipe.config.target.content_digest()
    sha256 = None if initial is None else initial.use.sha256
    images = str(found.fingerprint)
    identity = pretraining_id(recipe.name, digest, images, args.seed, target, sha256, with_head=args.with_head)
    work = claim("pretrain", argv, args, recipe, root, found.fingerprint, identity)
    if work is None:
        return 0
    work = _as_begun(work)
    from pretrain.run.start import Start  # torch, only now that there is work
    from pretrain.run.train import pretrain

    try:
        record = pretrain(work, found, None if initial is None else Start(initial, args.with_head), args.until)
    except Paused as paused:
        print(f"{paused}; the same command without --until goes on")
        return 0
    print(f"done: {work.folder.path} ({record.steps} steps, {record.seconds:.0f} s); encoder in {work.folder.encoder}")
    return 0


def imports(argv: Sequence[str]) -> list[str]:  # noqa: ARG001 (every recipe needs the same)
    """Return the modules that the verb imports once there is work."""
    return ["pretrain.run.start", "pretrain.run.train"]


def _as_begun(work: Work[PretrainRecipe]) -> Work[PretrainRecipe]:
    """Let a run that goes on take the steps it began with, plain ones where it was begun before there were others."""
    earlier = work.folder.earlier()
    if earlier is None or any(each.startswith("training.fast_step=") for each in work.recipe.overrides):
        return work
    training = earlier.recipe.resolved.get("training")
    fast = isinstance(training, dict) and training.get("fast_step") is True
    config = work.config.model_copy(update={"training": work.config.training.model_copy(update={"fast_step": fast})})
    return replace(work, recipe=replace(work.recipe, config=config))


def _check_pause(until: float | None, recipe: PretrainRecipe) -> None:
    if until is None:
        return
    if not 0 < until < 1:
        raise UserError.about("--until", until, "a share of the training above 0 and below 1", "--until 0.1")
    if recipe.validation is None:
        rule = "given with held-out images, whose loss is measured there"
        raise UserError.about("--until", until, rule, "add validation.share=0.05, or leave --until out")


def _initial(args: argparse.Namespace, find_initial: FindInitial) -> InitialEncoder | None:
    """Return what `--initial` names; None without it. Raises UserError for other options that do not fit it."""
    if args.initial is not None:
        if args.with_head and args.epoch is not None:
            remedy = "leave one of the two out"
            raise UserError.about("--with-head", True, "without --epoch: only the last epoch's head is kept", remedy)
        return find_initial(
            args.initial,
            args.stage,
            args.architecture,
            args.epoch,
            args.pretrained_on,
            weights=args.weights,
            prefix=args.prefix,
            implausible_allowed=args.allow_implausible_weights,
        )
    for name in DESCRIBING:
        if value := getattr(args, name):
            rule = "given beside --initial, whose encoder it describes"
            raise UserError.about(f"--{name.replace('_', '-')}", value, rule, "add --initial REF, or leave it out")
    return None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mimbench pretrain",
        description="Pretrain an encoder by SimMIM on a folder of images.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("recipe", metavar="RECIPE", help=RECIPE_HELP)
    parser.add_argument(
        "--initial",
        metavar="REF",
        help="continue from this encoder: run folder, encoder folder, checkpoint file, timm:NAME, hf-hub:NAME",
    )
    parser.add_argument(
        "--with-head", action="store_true", help="take the mask token and the head of the run REF as well"
    )
    parser.add_argument(
        "--stage", choices=get_args(TrainedStage), help="how far REF was trained, where neither file nor name says so"
    )
    parser.add_argument(
        "--architecture", metavar="NAME", help="the architecture of REF, where its tensors leave it open"
    )
    parser.add_argument("--pretrained-on", metavar="NAME", help="the data on which others trained REF, for reports")
    parser.add_argument("--epoch", type=int, metavar="N", help="the encoder of the run REF after N epochs")
    add_weights_arguments(parser, "REF")
    pause = "pause after the first evaluation on held-out images at or after this share of the training"
    parser.add_argument("--until", type=float, metavar="SHARE", help=pause)
    add_run_arguments(parser)
    return parser
