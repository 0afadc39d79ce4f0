"""`mimbench show`: the same test images with the truth beside every encoder's prediction."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.catalogue.tasks import find_task
from benchmarks.errors import UserError, WorkFailed, printable_lines
from benchmarks.files.atomic import make_folder, write_atomically
from benchmarks.runs.find import find_runs

if TYPE_CHECKING:
    from transfer.show.gather import SameData, Wish
    from transfer.show.shown import Sheet

MOST_IMAGES = 64
EPILOG = """examples:
  mimbench show runs --out pictures
  mimbench show pipelines/ID/stages --disagree --images 16 --out pictures
  mimbench show 'runs/coco-*' --score 0.3 --data coco=/data/coco --out pictures

Classes come from predictions.csv, which every run of images or videos has. Maps and objects come from predictions/,
which a run writes with testing.save_predictions=true; without it the model of the run's last checkpoint predicts the
images that are shown. Written: show.html, one PNG for each task, and one for each confusion matrix.
"""


def main(argv: Sequence[str]) -> int:
    """Write the sheets and the page; return the exit code."""
    args = _parser().parse_args(argv)
    if args.task is not None:
        find_task(args.task)
    for name, value, most in (("--images", args.images, MOST_IMAGES), ("--seed", args.seed, 2**63)):
        least = 1 if name == "--images" else 0
        if not least <= value <= most:
            raise UserError.about(name, value, f"{least} to {most}", "leave it out for the default")
    if not 0 <= args.score <= 1:
        raise UserError.about("--score", args.score, "0 to 1", "leave it out for the default")
    found = find_runs(args.runs)
    from transfer.show.gather import Wish, grouped  # torch, only now that there is work
    from transfer.show.written import written

    wish = Wish(args.images, args.seed, args.disagree, args.score, args.device, _roots(args.data))
    groups = grouped(found.runs, args.task)
    if not groups:
        reasons = "; ".join(f"{left.where}: {left.reason}" for left in found.left_out[:3])
        rule = f"at least one finished transfer{f' to {args.task}' if args.task else ''}"
        value = f"{len(found.runs)} records in {', '.join(args.runs)}{f' ({reasons})' if reasons else ''}"
        raise UserError.about("RUNS", value, rule, "name folders of runs that `mimbench transfer` completed")
    sheets, refused = _sheets(groups, wish)
    make_folder(args.out)
    files = written(sheets, refused)
    for name, content in files.items():
        write_atomically(args.out / name, content)
    print(f"written: {args.out / 'show.html'} and {len(files) - 1} PNG files")
    return 0


def _sheets(groups: Sequence[SameData], wish: Wish) -> tuple[list[Sheet], list[str]]:
    """Return the sheets, and why others cannot be made. Raises the first of these errors where none can."""
    from transfer.show.gather import sheet_of

    sheets, refused, first = [], [], None
    for group in groups:
        try:
            sheets.append(sheet_of(group, wish))
        except (UserError, WorkFailed) as error:
            first = first or error
            refused.append(f"{group.task.name}: {error}")
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
    score = "the least score of objects that are drawn and counted (default 0.5)"
    parser.add_argument("--score", type=float, default=0.5, metavar="S", help=score)
    where = "where a task's data lie now, if not where its runs found them (any number)"
    parser.add_argument("--data", action="append", default=[], metavar="TASK=FOLDER", help=where)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="for models that must run")
    return parser
