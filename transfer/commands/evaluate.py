"""`mimbench evaluate`: score a trained model on test sets, without training."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks.verbs.command import RECIPE_HELP, Placing, add_run_arguments, already_done
from benchmarks.verbs.overrides import override_texts
from benchmarks.verbs.statement import EncoderStatement, add_statement_arguments
from transfer.api.evaluate import AskedEvaluation
from transfer.sources.head_classes import SUBSETS

SAID = ("stage", "architecture", "weights", "prefix", "allow_implausible_weights")
OPTIONS = ("task", "model", "name", "encoder", "tolerance", "config", "head_classes", "recipe")
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
    asked = AskedEvaluation(
        **{name: getattr(args, name) for name in OPTIONS},
        overrides=override_texts(args.overrides, args.data),
        placing=Placing(args.seed, args.runs, args.announce, args.label),
        said=EncoderStatement.of(args),
    )
    if args.print and (recipe := asked.recipe_of_others()) is not None:
        print(recipe.to_yaml(), end="")
        return 0
    run = asked.run()
    if not run.done_before:
        print(f"done: {run}")
        print("".join(f"{line}\n" for line in run.remark.splitlines()), end="")
    elif asked.of_a_run:
        print(f"already done: {run.folder} has these test sets on record")
    else:
        print(already_done(run))
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
    add_statement_arguments(others, "the model", names=SAID)
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
    others.add_argument("--label", metavar="NAME", help="the model's name in tables")
