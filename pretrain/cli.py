"""`mimbench pretrain`: a recipe and a data folder in, an encoder out."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from benchmarks.errors import Paused
from benchmarks.verbs.command import RECIPE_HELP, Placing, add_run_arguments, already_done
from benchmarks.verbs.initial import FindInitial
from benchmarks.verbs.overrides import override_texts
from benchmarks.verbs.statement import EncoderStatement, add_statement_arguments
from pretrain.api import AskedPretraining

EPILOG = """example:
  mimbench pretrain simmim_swin_base_192_100ep data.root=/data/imagenet training.epochs=800

  mimbench pretrain simmim_swin_base_192_100ep --initial runs/RUN_ID data.root=/data/own_images

The run is named after what it is (recipe, data, seed, initial weights). The same command again continues an unfinished
run from its last checkpoint, and says so when there is nothing left to do. Ctrl-C, SIGTERM and SIGUSR2 save and stop.
"""


def main(argv: Sequence[str], find_initial: FindInitial) -> int:
    """Run the verb; return the exit code. `find_initial` opens what `--initial` names."""
    args = _parser().parse_intermixed_args(argv)
    asked = AskedPretraining(
        args.recipe,
        override_texts(args.overrides, args.data),
        Placing(args.seed, args.runs, args.announce),
        initial=args.initial,
        with_head=args.with_head,
        said=EncoderStatement.of(args),
        until=args.until,
    )
    if args.print:
        print(asked.resolved().to_yaml(), end="")
        return 0
    try:
        run = asked.run(find_initial)
    except Paused as paused:
        print(f"{paused}; the same command without --until goes on")
        return 0
    if run.done_before:
        print(already_done(run))
    else:
        record = run.record
        print(f"done: {run.folder} ({record.steps} steps, {record.seconds:.0f} s); encoder in {run.encoder}")
    return 0


def imports(argv: Sequence[str]) -> list[str]:  # noqa: ARG001 (every recipe needs the same)
    """Return the modules that the verb imports once there is work."""
    return ["pretrain.run.start", "pretrain.run.train"]


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
    add_statement_arguments(parser, "REF")
    pause = "pause after the first evaluation on held-out images at or after this share of the training"
    parser.add_argument("--until", type=float, metavar="SHARE", help=pause)
    add_run_arguments(parser)
    return parser
