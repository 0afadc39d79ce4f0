"""`mimbench transfer`: bring one encoder to one task and measure it."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from benchmarks import ranks
from benchmarks.catalogue.starts import authors_recipe, default_recipe, misfit_in_words
from benchmarks.catalogue.tasks import Task, find_task
from benchmarks.config import Recipe, load_recipe
from benchmarks.encoders import Architecture, InitStage, TrainedStage, misfit
from benchmarks.errors import UserError
from benchmarks.runs.command import RECIPE_HELP, add_run_arguments, add_weights_arguments
from transfer.adapter import ADAPTERS, ENGINES, Adapter, adapter_for
from transfer.checkpoint.content.selection import Selection
from transfer.commands.claimed import claim_transfer, scores_of
from transfer.encoder.sizes import given_by, normalisation_of, own_protocol
from transfer.sources.references import ARCHITECTURE_HELP, random_architecture, resolve
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
    task = find_task(args.task)
    adapter = adapter_for(task)
    overrides = [*args.overrides, *_config_override(task, adapter, args.config)]
    if args.encoder is None and not args.print:
        remedy = "add --encoder runs/RUN_ID, a checkpoint's path, timm:NAME, hf-hub:NAME or random:NAME"
        raise UserError.about("--encoder", "(not given)", "what the transfer starts from", remedy)
    random = random_architecture(args.encoder or "")
    recipe = load_recipe(adapter.recipe, "transfer", args.recipe or default_recipe(task, random), overrides)
    if args.print:
        if random is not None:
            _warn_of_misfit(task, recipe, args.encoder, "random", random)
        of_images = ""
        if args.encoder:
            source = _source(args)
            of_images = _images_in_words(source, recipe)
            _name_authors_recipe(task, args.recipe, source)
        print(recipe.to_yaml() + of_images, end="")
        return 0
    source = _source(args)
    transfer = claim_transfer("transfer", argv, args, task, adapter, recipe, source)
    if transfer is None:
        return 0
    _warn_of_misfit(task, recipe, args.encoder, source.use.init_stage, random)
    _name_authors_recipe(task, args.recipe, source)
    for note in source.notes(given_by(recipe.config)) if ranks.is_main() else ():
        print(f"note: {note}", file=sys.stderr)
    record = adapter.run(transfer)
    print(f"done: {transfer.work.folder.path}: {scores_of(record)} ({record.seconds:.0f} s)")
    return 0


def imports(argv: Sequence[str]) -> list[str]:
    """Return the modules that the verb imports once there is work."""
    kind = find_task(argv[0]).kind
    return [ADAPTERS[kind].partition(":")[0], "transfer.run", ENGINES[kind]]


def _source(args: argparse.Namespace) -> Source:
    """Return the encoder that the arguments name. Raises what `resolve` raises."""
    return resolve(
        args.encoder,
        args.label,
        args.stage,
        args.architecture,
        args.epoch,
        args.pretrained_on,
        selection=Selection(args.weights, args.prefix),
        implausible_allowed=args.allow_implausible_weights,
    )


def _images_in_words(source: Source, recipe: Recipe[Any]) -> str:
    """Return a comment of YAML: how the recipe's images would be normalised for this encoder, and what says so."""
    found = normalisation_of(source, recipe.config)
    own = own_protocol(source, recipe.config)
    made = "" if own is None else f"# test images are {own.in_words(recipe.config.image_size_px)}\n"
    return f"# images are normalised by mean {list(found.mean)}, std {list(found.std)} ({found.stated_by})\n{made}"


def _warn_of_misfit(
    task: Task, recipe: Recipe[Any], reference: str, stage: InitStage, random: Architecture | None
) -> None:
    """Say on stderr where the recipe is for encoders of other stages."""
    mark = misfit(recipe.config.starts_from, stage)
    if mark is not None and ranks.is_main():
        print(f"warning: {misfit_in_words(task, recipe.name, reference, mark, random)}", file=sys.stderr)


def _name_authors_recipe(task: Task, asked: str | None, source: Source) -> None:
    """Say on stderr which recipe the encoder's authors fine-tune it by, where no recipe was asked for."""
    use = source.use
    own = authors_recipe(task, use.method, use.init_stage, use.architecture)
    if asked is None and own is not None and ranks.is_main():
        said = f"the authors of {use.label} ({use.method}) fine-tune it by --recipe {own}; the default is {task.recipe}"
        print(f"note: {said}, the same for all encoders", file=sys.stderr)


def _config_override(task: Task, adapter: Adapter, config: Path | None) -> list[str]:
    """Return `--config` as overrides of the recipe. Raises UserError where the task's engine has no config files."""
    if config is None:
        return []
    if adapter.config_field is None:
        rule = f"for tasks whose engine has config files ({task.name} has none)"
        raise UserError.about("--config", str(config), rule, "leave it out; `key=value` sets any field of the recipe")
    return [f"{adapter.config_field}={json.dumps(str(config.resolve()))}"]


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
    parser.add_argument(
        "--stage",
        choices=get_args(TrainedStage),
        help="how far a foreign checkpoint or timm: model was trained, where neither the file nor the name says so",
    )
    parser.add_argument(
        "--pretrained-on",
        metavar="NAME",
        help="the data set on which others trained the encoder, for reports, where its name does not say so",
    )
    parser.add_argument("--architecture", metavar="NAME", help=ARCHITECTURE_HELP)
    parser.add_argument(
        "--epoch", type=int, metavar="N", help="a pretraining run's encoder after N epochs (its export_epochs)"
    )
    add_weights_arguments(parser)
    parser.add_argument("--recipe", metavar="RECIPE", help=f"{RECIPE_HELP}; default: the task's own for what starts")
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="your own mmsegmentation config: its heads, losses and pipelines"
    )
    parser.add_argument("--label", metavar="NAME", help="the encoder's name in tables")
    add_run_arguments(parser)
    return parser
