"""`mimbench report leaderboard` and `publish`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from reports.api import SUFFIXES, board_of, prepare, require_runs, suffixes_of, write_board
from reports.commands.common import RAW, RUNS_HELP, Verbs, say
from reports.text import count

if TYPE_CHECKING:
    from reports.leaderboard.board import Leaderboard

EXAMPLES = """examples:
  mimbench report leaderboard runs --out report
  mimbench report leaderboard runs --baseline supervised --task digits --out report
  mimbench report leaderboard 'runs/digits-*' pipelines/ID/stages --out report
  mimbench report leaderboard --in lab_a --in lab_b=/data/b/runs --references papers.csv --out report

A delta is shown only between rows that share task version, recipe, image size and data.
Exit codes: 0 done, 1 no usable run (the report says why), 2 what was asked for was wrong.
"""


def add_leaderboard(verbs: Verbs) -> None:
    text = "rank encoders by task, over seeds, with deltas to a baseline where they are fair"
    verb = verbs.add_parser("leaderboard", help=text, description=text, epilog=EXAMPLES, formatter_class=RAW)
    _add_request(verb)
    verb.add_argument("--formats", metavar="LIST", help=f"of {','.join(SUFFIXES)} (default: all)")
    verb.set_defaults(run=leaderboard)


def _add_request(verb: argparse.ArgumentParser) -> None:
    """Add the arguments that say what a leaderboard is of."""
    verb.add_argument("runs", nargs="*", metavar="RUNS", help=RUNS_HELP)
    collection = "one of several collections of runs, of different people; every row names its own (any number)"
    verb.add_argument("--in", dest="within", action="append", default=[], metavar="[NAME=]RUNS", help=collection)
    verb.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the files go")
    verb.add_argument("--baseline", metavar="LABEL", help="the encoder that the others are compared with")
    verb.add_argument("--task", metavar="NAME", help="only this task, or suite (default: all found)")
    shown = "published results beside the measured: of the same backbones (same, the default), all of the task's, or "
    shown += "none; or a CSV file of your own (any number)"
    verb.add_argument("--references", action="append", default=[], metavar="same|all|none|FILE.csv", help=shown)
    verb.add_argument("--unverified", action="store_true", help="also published results not read in their source")
    corrected = "also the p of every difference, corrected by Holm for their number in a task's table"
    verb.add_argument("--holm", action="store_true", help=corrected)
    seen = "also test images with the classes that were predicted, where the images are at hand (HTML)"
    verb.add_argument("--pictures", action="store_true", help=seen)


def add_publish(verbs: Verbs) -> None:
    text = "a static site of a leaderboard: overview, a page for each task and encoder, data files, a feed of changes"
    verb = verbs.add_parser("publish", help=text, description=text, formatter_class=RAW)
    _add_request(verb)
    verb.set_defaults(run=publish)


def leaderboard(arguments: argparse.Namespace) -> int:
    """Write the files to the folder asked for, and print the text.

    Raises UserError for a wrong argument, and WorkFailed when no run is usable. The files say why then; without any
    record there are none.
    """
    suffixes = suffixes_of(None if arguments.formats is None else arguments.formats.split(","))
    board = _board(arguments)

    from reports.formats import rendered  # pandas, whose threads would keep the board from being made by processes

    paths = write_board(board, arguments.out, suffixes)
    text = arguments.out / "leaderboard.txt"
    say((text.read_bytes() if text in paths else rendered(board, "txt")).decode())
    say("".join(f"written: {path}\n" for path in paths))
    if arguments.formats is None and "parquet" not in suffixes:
        say("not written: leaderboard.parquet needs pyarrow: pip install 'mimbench[reports]'\n")
    require_runs(board)
    return 0


def publish(arguments: argparse.Namespace) -> int:
    """Write a static site to the folder asked for; pages of encoders and tasks that are no more are removed.

    Raises UserError for a wrong argument, and WorkFailed where no run is usable: nothing is written then.
    """
    board = _board(arguments)
    require_runs(board)

    from reports.publish import write_site  # pandas, as above

    prepare(arguments.out)
    changed = write_site(board, arguments.out)
    say(f"written: {arguments.out / 'index.html'} ({count(changed, 'change')} in feed.xml)")
    return 0


def _board(arguments: argparse.Namespace) -> Leaderboard:
    asked = ("within", "baseline", "task", "references", "unverified", "holm", "pictures")
    return board_of(arguments.runs, **{name: getattr(arguments, name) for name in asked})
