"""`mimbench report leaderboard` and `publish`."""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.errors import UserError, WorkFailed, did_you_mean
from benchmarks.files.atomic import write_atomically
from reports.commands.common import RAW, RUNS_HELP, Verbs, prepare, say
from reports.text import count

if TYPE_CHECKING:
    from reports.leaderboard.board import Leaderboard
    from reports.leaderboard.lines import Shown

EXAMPLES = """examples:
  mimbench report leaderboard runs --out report
  mimbench report leaderboard runs --baseline supervised --task digits --out report
  mimbench report leaderboard 'runs/digits-*' pipelines/ID/stages --out report
  mimbench report leaderboard --in lab_a --in lab_b=/data/b/runs --references papers.csv --out report

A delta is shown only between rows that share task version, recipe, image size and data.
Exit codes: 0 done, 1 no usable run (the report says why), 2 what was asked for was wrong.
"""
SHOWN: Mapping[str, Shown] = {"same": "same", "all": "all", "none": "none"}
SUFFIXES = ("txt", "md", "csv", "json", "parquet", "tex", "html")
OVERVIEW = "overview.txt"
"""How the text begins, for those who show a report in a few lines."""


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
    """Write leaderboard.SUFFIX to the folder asked for, how the text begins to overview.txt, and print the text.

    Raises UserError for a wrong argument, and WorkFailed when no run is usable. The files say why then; without any
    record there are none.
    """
    from reports.formats import rendered
    from reports.tables.text_markdown import to_overview

    suffixes = _formats(arguments.formats)
    board = _board(arguments)
    if not (board.sections or board.pretrainings or board.left_out):
        raise WorkFailed(
            f"no record found in {', '.join(board.request.runs)}: nothing written\n  remedy: check the path"
        )
    prepare(arguments.out)
    paths = [arguments.out / f"leaderboard.{suffix}" for suffix in suffixes]
    text = rendered(board, "txt")
    for path, suffix in zip(paths, suffixes, strict=True):
        write_atomically(path, text if suffix == "txt" else rendered(board, suffix))
    if "txt" in suffixes:
        paths.append(arguments.out / OVERVIEW)
        write_atomically(paths[-1], to_overview(board).encode())
    say(text.decode())
    say("".join(f"written: {path}\n" for path in paths))
    if arguments.formats is None and "parquet" not in suffixes:
        say("not written: leaderboard.parquet needs pyarrow: pip install 'mimbench[reports]'\n")
    _require_runs(board)
    return 0


def publish(arguments: argparse.Namespace) -> int:
    """Write a static site to the folder asked for; pages of encoders and tasks that are no more are removed.

    Raises UserError for a wrong argument, and WorkFailed where no run is usable: nothing is written then.
    """
    from reports.publish import write_site

    board = _board(arguments)
    _require_runs(board)
    prepare(arguments.out)
    changed = write_site(board, arguments.out)
    say(f"written: {arguments.out / 'index.html'} ({count(changed, 'change')} in feed.xml)")
    return 0


def _board(arguments: argparse.Namespace) -> Leaderboard:
    """Return the leaderboard that was asked for. Raises UserError for a wrong argument."""
    from benchmarks.catalogue.suites import tasks_in
    from benchmarks.catalogue.tasks import find_task
    from reports.leaderboard.board import Request, make
    from reports.records.collections import named

    if arguments.task is not None:
        for task in tasks_in(arguments.task):
            find_task(task)
    if arguments.holm and arguments.baseline is None:
        raise UserError.about("--holm", "(given)", "with --baseline, to which differences are", "add --baseline LABEL")
    if bool(arguments.runs) == bool(arguments.within):
        value = "both" if arguments.runs else "(neither)"
        raise UserError.about("RUNS and --in", value, "one of the two", "name RUNS, or each collection with --in")
    runs, names = named(arguments.within) if arguments.within else (tuple(arguments.runs), ())
    shown, files = _references(arguments.references)
    asked = {name: getattr(arguments, name) for name in ("baseline", "task", "unverified", "holm", "pictures")}
    return make(Request(runs, references=shown, collections=names, reference_files=files, **asked))


def _references(given: Sequence[str]) -> tuple[Shown, tuple[str, ...]]:
    """Return which of the published numbers at hand to show, and the files of further ones."""
    words = [text for text in given if text in SHOWN]
    files = tuple(text for text in given if text not in SHOWN)
    if len(set(words)) > 1:
        rule = f"one of {', '.join(SHOWN)}, and any number of files"
        raise UserError.about("--references", " and ".join(words), rule, "leave one out")
    for text in files:
        if not text.endswith(".csv"):
            raise UserError.about("--references", text, f"{', '.join(SHOWN)} or a CSV file", did_you_mean(text, SHOWN))
    return SHOWN[words[0]] if words else "same", files


def _require_runs(board: Leaderboard) -> None:
    from reports.leaderboard.notes import words

    if not board.sections:
        raise WorkFailed(f"no usable run. {words(board).account}\n  remedy: finish or repair the runs listed above")


def _formats(asked: str | None) -> list[str]:
    """Return the formats asked for; by default all, Parquet where what writes it is installed."""
    if asked is None:
        without = () if importlib.util.find_spec("pyarrow") else ("parquet",)
        return [suffix for suffix in SUFFIXES if suffix not in without]
    suffixes = asked.split(",")
    for suffix in suffixes:
        if suffix not in SUFFIXES:
            raise UserError.about("--formats", suffix, "a list of formats", did_you_mean(suffix, SUFFIXES))
    return suffixes
