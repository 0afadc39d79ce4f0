"""`mimbench evaluate`: score a trained model on test sets, without training."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

from benchmarks import ranks
from benchmarks.catalogue.tasks import Task, find_task
from benchmarks.config import load_recipe, recipe_names
from benchmarks.encoders import TrainedStage
from benchmarks.errors import UserError
from benchmarks.runs.command import RECIPE_HELP, add_run_arguments, add_weights_arguments
from benchmarks.runs.folder import read_record, run_folder_of
from benchmarks.runs.record import RunRecord
from transfer.adapter import Adapter, Asked, adapter_for
from transfer.commands.claimed import claim_transfer, scores_of
from transfer.sources.head_classes import SUBSETS
from transfer.sources.references import ARCHITECTURE_HELP, trust_code

EPILOG = """examples:
  mimbench evaluate imagenet1k --model runs/RUN_ID
  mimbench evaluate imagenet1k --model runs/RUN_ID data.test_sets.imagenet_v2.root=/data/imagenetv2
  mimbench evaluate imagenet1k --model runs/RUN_ID data.test_sets.imagenet_a.root=/data/imagenet-a \\
      data.test_sets.objectnet.root=/data/objectnet-1.0
  mimbench evaluate imagenet1k --model timm:vit_base_patch16_224.augreg2_in21k_ft_in1k data.root=/data/imagenet
  mimbench evaluate imagenet1k --model resnet50-11ad3fa6.pth --architecture resnet50 data.root=/data/imagenet
  mimbench evaluate imagenet1k --model timm:swin_base_patch4_window7_224.ms_in22k --head-classes map22kto1k.txt \\
      data.root=/data/imagenet
  mimbench evaluate ade20k --model upernet_swin_base.pth data.root=/data/ADEChallengeData2016
  mimbench evaluate coco --model model_final.pkl --config mask_rcnn_R_50_FPN_3x.yaml data.root=/data/coco
  mimbench evaluate ade20k --model runs/RUN_ID --name night data.root=/data/night data.test_split=val

A finished run is rebuilt from its recipe and its last checkpoint. First it has to reproduce the score on its own test
set, to the digit; then each further test set is scored and added to the run's record and to its test_sets.csv, as if
it had been there from the start. Test sets that are on record already are passed over.
"""


def main(argv: Sequence[str]) -> int:
    """Run the verb; return the exit code."""
    args = _parser().parse_intermixed_args(argv)
    task = find_task(args.task)
    adapter = adapter_for(task)
    folder = run_folder_of(Path(args.model))
    if (record := read_record(folder)) is not None:
        return _evaluate_run(task, adapter, folder, record, args, ("mimbench", "evaluate", *argv))
    return _evaluate_foreign(task, adapter, args, argv)


def _evaluate_foreign(task: Task, adapter: Adapter, args: argparse.Namespace, argv: Sequence[str]) -> int:
    asked = Asked(
        args.model,
        args.config,
        args.architecture,
        args.label,
        args.stage,
        args.head_classes,
        args.weights,
        args.prefix,
    )
    trained = adapter.trained(asked)
    own = f"{task.name}_evaluate"
    named = args.recipe or (own if own in recipe_names("transfer") else trained.recipe)
    given = tuple(args.overrides)
    recipe = replace(load_recipe(adapter.recipe, "transfer", named, [*trained.stated, *given]), overrides=given)
    if args.print:
        print(recipe.to_yaml(), end="")
        return 0
    source = replace(trained.source, implausible_allowed=args.allow_implausible_weights)
    transfer = claim_transfer("evaluate", argv, args, task, adapter, recipe, source)
    if transfer is None:
        return 0
    for note in source.notes() if ranks.is_main() else ():
        print(f"note: {note}", file=sys.stderr)
    record = adapter.run(transfer)
    print(f"done: {transfer.work.folder.path}: {scores_of(record)}")
    for name, value in trained.published.items():
        print(f"published by {trained.stated_by} on ImageNet-1K: {name} {value:.3f}")
    return 0


def _evaluate_run(
    task: Task, adapter: Adapter, folder: Path, record: RunRecord, args: argparse.Namespace, command: tuple[str, ...]
) -> int:
    if args.architecture is not None:
        trust_code(args.architecture)
    from transfer.evaluate.finished import add_test_sets  # torch, only now that there is work
    from transfer.evaluate.rebuild import finished_run, read_own, read_wanted, require_classes

    run = finished_run(args.model, folder, record, task, adapter)
    own = read_own(run, args.overrides, args.name)
    problem = adapter.problem(own)
    if problem is None:
        rule = "a run that trained a head (nearest neighbours are found anew for every test set)"
        raise UserError.about("--model", args.model, rule, "transfer again with data.test_sets: nothing is trained")
    wanted = read_wanted(run, own, args.overrides, args.name)
    if not wanted and record.added_test_sets and args.overrides:
        print(f"already done: {folder} has these test sets on record")
        return 0
    transfer = run.transfer(own, args.encoder, command, run.data(own))
    require_classes(run, transfer.data, wanted)
    add_test_sets(transfer, record, problem, wanted, args.tolerance)
    print(f"done: {folder}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mimbench evaluate",
        description="Score a model that is trained already, with its head, on test sets; nothing is trained.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("task", metavar="TASK", help="a task of the catalogue (`mimbench list tasks`)")
    parser.add_argument(
        "--model",
        required=True,
        metavar="REF",
        help="the folder of a finished run; of others timm:NAME, hf-hub:NAME, a checkpoint file or its folder",
    )
    run = parser.add_argument_group("a finished run")
    run.add_argument(
        "--name",
        metavar="NAME",
        help="detection, segmentation, video: what the test set is called that data.root=... and the like describe",
    )
    run.add_argument(
        "--encoder", metavar="REF", help="where the encoder lies now, if the run froze it and it was moved"
    )
    run.add_argument(
        "--tolerance",
        type=float,
        default=0.0,
        metavar="POINTS",
        help="how far the run's own score may be from its record, on another device (default 0)",
    )
    _add_model_of_others(parser)
    add_run_arguments(parser)
    return parser


def _add_model_of_others(parser: argparse.ArgumentParser) -> None:
    others = parser.add_argument_group("a model of others")
    others.add_argument("--stage", choices=get_args(TrainedStage), help="how far it was trained, where nothing says so")
    others.add_argument("--architecture", metavar="NAME", help=ARCHITECTURE_HELP)
    others.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="the model's config: mmsegmentation's (.py, .yaml, .json; none of it is run) or detectron2's (.yaml)",
    )
    others.add_argument(
        "--head-classes",
        metavar="LIST",
        help=f"what a classifier's logits stand for: {', '.join(SUBSETS)}, or a file with one name per line, or with "
        "the number of each class's logit",
    )
    others.add_argument("--recipe", metavar="RECIPE", help=f"{RECIPE_HELP}; its protocol is `evaluate`")
    add_weights_arguments(others)
    others.add_argument("--label", metavar="NAME", help="the model's name in tables")
