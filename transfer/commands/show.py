"""`mimbench show`: the same test images with the truth beside every encoder's prediction."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.catalogue.task import Task
from benchmarks.catalogue.tasks import find_task
from benchmarks.data.found import named_by
from benchmarks.errors import UserError, WorkFailed, printable_lines
from benchmarks.files.atomic import make_folder, write_atomically
from benchmarks.runs.find import Findings, find_runs
from benchmarks.training.numbers import MOST_SEED

if TYPE_CHECKING:
    from transfer.show.frozen.neighbours import Maker
    from transfer.show.shown import Sheet

MOST_IMAGES = 64
DEFAULT_NEAREST, MOST_NEAREST = 5, 16
EPILOG = """examples:
  mimbench show runs --out pictures
  mimbench show pipelines/ID/stages --disagree --images 16 --out pictures
  mimbench show 'runs/coco-*' --score 0.3 --data coco=/data/coco --out pictures
  mimbench show --neighbours runs/RUN_ID runs/OTHER_ID timm:vit_base_patch14_dinov2.lvd142m --out pictures

Classes come from predictions.csv, which every run of images or videos has. Maps and objects come from predictions/,
which a run writes with testing.save_predictions=true; without it the model of the run's last checkpoint predicts the
images that are shown. Written: show.html, one PNG for each task, and one for each confusion matrix.

--neighbours shows, in the place of predictions, the training images whose features by each run's encoder are most
similar to those of the test images. RUNS may then be encoders, too, as --encoder of `mimbench transfer` takes them.
"""


def main(argv: Sequence[str]) -> int:
    """Write the sheets and the page; return the exit code."""
    args = _parser().parse_args(argv)
    task = None if args.task is None else find_task(args.task)
    _check(args)
    found, makers = _makers(args, task)
    if not makers:
        reasons = "; ".join(f"{left.where}: {left.reason}" for left in found.left_out[:3])
        rule = f"at least one finished transfer{f' to {args.task}' if args.task else ''}"
        if any(each.record.draws is not None for each in found.runs):
            rule += "; those over several draws of labels have no one prediction of an image (--neighbours shows them)"
        value = f"{len(found.runs)} records in {', '.join(args.runs)}{f' ({reasons})' if reasons else ''}"
        raise UserError.about("RUNS", value, rule, "name folders of runs that `mimbench transfer` completed")
    from transfer.show.written import written  # torch, only now that there is work

    sheets, refused = _sheets(makers)
    make_folder(args.out)
    files = written(sheets, refused)
    for name, content in files.items():
        write_atomically(args.out / name, content)
    print(f"written: {args.out / 'show.html'} and {len(files) - 1} PNG files")
    return 0


def _makers(args: argparse.Namespace, task: Task | None) -> tuple[Findings, list[Maker]]:
    """Return the runs that were found, and what makes the sheets of them."""
    found = Findings() if args.neighbours else find_runs(args.runs)
    from transfer.show.gather import Wish, grouped, sheet_of  # torch, only now that there is work

    wish = Wish(args.images, args.seed, args.disagree, args.score, args.device, _roots(args.data))
    if not args.neighbours:
        return found, [(group.task.name, partial(sheet_of, group, wish)) for group in grouped(found.runs, args.task)]
    from transfer.show.frozen.neighbours import makers, parted

    found, references = parted(args.runs)
    count = DEFAULT_NEAREST if args.nearest is None else args.nearest
    return found, makers(grouped(found.runs, args.task, several_draws=True), references, task, args.recipe, wish, count)


def _check(args: argparse.Namespace) -> None:
    """Raise UserError for a number that is out of bounds, and for options that have no part in what is asked."""
    bounds = [("--images", 1, args.images, MOST_IMAGES), ("--seed", 0, args.seed, MOST_SEED)]
    bounds += [("--score", 0, args.score, 1)]
    bounds += [("--nearest", 1, args.nearest, MOST_NEAREST)] if args.nearest is not None else []
    for name, least, value, most in bounds:
        if not least <= value <= most:
            raise UserError.about(name, value, f"{least} to {most}", "leave it out for the default")
    for name, value in (("--nearest", args.nearest), ("--recipe", args.recipe)):
        if value is not None and not args.neighbours:
            raise UserError.about(name, value, "for --neighbours alone", f"leave it out, or add --neighbours to {name}")
    if args.neighbours and args.disagree:
        rule = "for predictions: neighbours are shown of images that the seed draws"
        raise UserError.about("--disagree", "with --neighbours", rule, "leave one of them out")


def _sheets(makers: Sequence[Maker]) -> tuple[list[Sheet], list[str]]:
    """Return the sheets, and why others cannot be made. Raises the first of these errors where none can."""
    sheets, refused, first = [], [], None
    for what, make in makers:
        try:
            with named_by("data folder", "--data TASK=FOLDER says where the data of a task lie now"):
                sheets.append(make())
        except (UserError, WorkFailed) as error:
            first = first or error
            refused.append(f"{what}: {error}")
    if first is not None and not sheets:
        raise first
    for text in refused:
        print(f"not shown: {printable_lines(text)}", file=sys.stderr)
    return sheets, refused


def _roots(given: Sequence[str]) -> dict[str, str]:
    roots = {}
    for text in given:
        task, equals, root = text.partition("=")
        if not (equals and root):
            raise UserError.about("--data", text, "TASK=FOLDER", "for example --data imagenet1k=/data/imagenet")
        roots[find_task(task).name] = root
    return roots


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mimbench show",
        description="Draw what finished runs predict for the same test images, beside the truth.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    runs = "run folders, folders of runs, globs, announcement files or folders of those"
    parser.add_argument("runs", nargs="+", metavar="RUNS", help=runs)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where show.html and the PNG files go")
    parser.add_argument("--task", metavar="NAME", help="only this task (default: a sheet for every task found)")
    parser.add_argument(
        "--images", type=int, default=8, metavar="N", help=f"of each task, 1 to {MOST_IMAGES} (default 8)"
    )
    parser.add_argument("--seed", type=int, default=0, help="draws the images: the same for all runs (default 0)")
    parser.add_argument("--disagree", action="store_true", help="show the images on which the runs differ most")
    near = "show the training images that each run's encoder, or each encoder named, finds most like the test images"
    parser.add_argument("--neighbours", action="store_true", help=near)
    nearest = f"how many neighbours, 1 to {MOST_NEAREST} (default {DEFAULT_NEAREST})"
    parser.add_argument("--nearest", type=int, metavar="N", help=nearest)
    made = "with --neighbours and no run: the recipe that says how images are made (default: the task's own)"
    parser.add_argument("--recipe", metavar="RECIPE", help=made)
    score = "the least score of objects that are drawn and counted (default 0.5)"
    parser.add_argument("--score", type=float, default=0.5, metavar="S", help=score)
    where = "where a task's data lie now, if not where its runs found them (any number)"
    parser.add_argument("--data", action="append", default=[], metavar="TASK=FOLDER", help=where)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="for models that must run")
    return parser
