"""`mimbench transfer`: bring one encoder to one task and measure it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.catalogue.tasks import find_task
from benchmarks.config import Recipe
from benchmarks.verbs.command import RECIPE_HELP, Placing, add_run_arguments, already_done
from benchmarks.verbs.overrides import override_texts
from benchmarks.verbs.statement import EncoderStatement, add_statement_arguments
from transfer.adapter import ADAPTERS, ENGINES, adapter_for
from transfer.api.transfer import AskedTransfer
from transfer.encoder.sizes import normalisation_of, own_protocol
from transfer.sources.references import random_architecture
from transfer.sources.source import Source

EPILOG = """examples:
  mimbench transfer imagenet1k --encoder runs/RUN_ID data.root=/data/imagenet
  mimbench transfer imagenet1k --encoder simmim_pretrain__swin_base.pth data.root=/data/imagenet
  mimbench transfer imagefolder --encoder timm:swin_base_patch4_window7_224.ms_in1k \\
      --recipe imagenet1k_swin_base_224 data.root=/data/flowers training.batch_size=256
  mimbench transfer imagenet1k --encoder python:my_package.encoders:resnet --stage supervised data.root=/data/imagenet
  mimbench transfer imagenet1k --encoder mae:vit_base data.root=/data/imagenet
  mimbench transfer imagenet1k --recipe imagenet1k_knn --encoder runs/RUN_ID data.root=/data/imagenet

python:MODULE:FACTORY calls a function of yours, which returns an OwnEncoder of benchmarks.families.own: a model with
its weights, what turns images into tokens or maps, their strides, and the images' mean and std (docs/checkpoints.md).

A recipe's protocol is fine-tuning, a linear or attentive probe, or nearest neighbours.
The whole encoder must come from the checkpoint, or the run fails before training. The fine-tuned encoder is exported
and can be the --encoder of the next transfer. The same command again continues an unfinished run.
"""


def main(argv: Sequence[str]) -> int:
    """Run the verb; return the exit code."""
    args = _parser().parse_intermixed_args(argv)
    asked = AskedTransfer(
        args.task,
        args.encoder,
        args.recipe,
        override_texts(args.overrides, args.data),
        Placing(args.seed, args.runs, args.announce, args.label),
        EncoderStatement.of(args),
        args.config,
    )
    if args.print:
        _print_recipe(asked)
        return 0
    run = asked.run()
    if run.done_before:
        print(already_done(run))
    else:
        print(f"done: {run} ({run.record.seconds:.0f} s)")
    return 0


def _print_recipe(asked: AskedTransfer) -> None:
    """Print the recipe, with how its images would be normalised; say on stderr where it is for others."""
    task = find_task(asked.task)
    recipe, of_images = asked.recipe_of(task, adapter_for(task)), ""
    if random_architecture(asked.encoder or "") is not None:
        asked.warn_of_misfit(task, recipe, "random")
    if asked.encoder:
        source = asked.source()
        of_images = _images_in_words(source, recipe)
        asked.name_authors_recipe(task, source)
    print(recipe.to_yaml() + of_images, end="")


def imports(argv: Sequence[str]) -> list[str]:
    """Return the modules that the verb imports once there is work."""
    kind = find_task(argv[0]).kind
    return [ADAPTERS[kind].partition(":")[0], "transfer.run", ENGINES[kind]]


def _images_in_words(source: Source, recipe: Recipe[Any]) -> str:
    """Return a comment of YAML: how the recipe's images would be normalised for this encoder, and what says so."""
    found = normalisation_of(source, recipe.config)
    own = own_protocol(source, recipe.config)
    made = "" if own is None else f"# test images are {own.in_words(recipe.config.image_size_px)}\n"
    return f"# images are normalised by mean {list(found.mean)}, std {list(found.std)} ({found.stated_by})\n{made}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mimbench transfer",
        description="Fine-tune or probe an encoder on a task and evaluate it; a fine-tuned one is exported.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("task", metavar="TASK", help="a task of the catalogue (`mimbench list tasks`)")
    parser.add_argument(
        "--encoder",
        metavar="REF",
        help="needed but for --print: run folder, encoder folder, checkpoint file, a name of `mimbench list "
        "checkpoints`, timm:NAME, hf-hub:NAME, random:NAME or python:MODULE:FACTORY, your own code, which runs in this "
        "process",
    )
    add_statement_arguments(parser)
    parser.add_argument("--recipe", metavar="RECIPE", help=f"{RECIPE_HELP}; default: the task's own for what starts")
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="your own mmsegmentation config: its heads, losses and pipelines"
    )
    parser.add_argument("--label", metavar="NAME", help="the encoder's name in tables")
    add_run_arguments(parser)
    return parser
