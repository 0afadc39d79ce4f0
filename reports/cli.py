"""`mimbench report`: tables and a page from run records."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.errors import UserError, WorkFailed, did_you_mean
from benchmarks.files import write_atomically

EXAMPLES = """examples:
  mimbench report leaderboard runs --out report
  mimbench report leaderboard runs --baseline supervised --task digits --out report
  mimbench report leaderboard 'runs/digits-*' pipelines/ID/stages --out report

A delta is shown only between rows that share task version, recipe, image size and data.
Exit codes: 0 done, 1 no usable run (the report says why), 2 what was asked for was wrong.
"""
SUFFIXES = ("txt", "md", "csv", "json", "parquet", "tex", "html")
RAW = argparse.RawDescriptionHelpFormatter


def main(argv: Sequence[str]) -> int:
    """Run `mimbench report ...`; return the exit code."""
    arguments = _parser().parse_args(argv)
    code: int = arguments.run(arguments)
    return code


def _parser() -> argparse.ArgumentParser:
    usage = "%(prog)s leaderboard RUNS... --out DIR"
    parser = argparse.ArgumentParser("mimbench report", usage, formatter_class=RAW)
    verbs = parser.add_subparsers(prog="mimbench report", metavar="REPORT", required=True)
    _add_leaderboard(verbs)
    return parser


def _add_leaderboard(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = "rank encoders by task, over seeds, with deltas to a baseline where they are fair"
    verb = verbs.add_parser("leaderboard", help=text, description=text, epilog=EXAMPLES, formatter_class=RAW)
    runs = "run folders, folders of runs, globs, announcement files or folders of those"
    verb.add_argument("runs", nargs="+", metavar="RUNS", help=runs)
    verb.add_argument("--out", type=Path, required=True, metavar="DIR", help="where leaderboard.SUFFIX go")
    verb.add_argument("--baseline", metavar="LABEL", help="the encoder that the others are compared with")
    verb.add_argument("--task", metavar="NAME", help="only this task (default: one table per task found)")
    shown = "published results beside the measured: of the same backbones (default), all of the task's, or none"
    verb.add_argument("--references", choices=("same", "all", "none"), default="same", help=shown)
    verb.add_argument("--unverified", action="store_true", help="also published results not read in their source")
    verb.add_argument("--formats", metavar="LIST", help=f"of {','.join(SUFFIXES)} (default: all)")
    verb.set_defaults(run=leaderboard)


def leaderboard(arguments: argparse.Namespace) -> int:
    """Write leaderboard.SUFFIX to the folder asked for and print the text.

    Raises UserError for a wrong argument, and WorkFailed when no run is usable (the files are written all the same).
    """
    from benchmarks.tasks import find_task
    from reports.formats import rendered
    from reports.leaderboard import Request, make
    from reports.notes import words

    if arguments.task is not None:
        find_task(arguments.task)
    suffixes = _formats(arguments.formats)
    board = make(
        Request(tuple(arguments.runs), arguments.baseline, arguments.task, arguments.references, arguments.unverified)
    )
    _prepare(arguments.out)
    paths = [arguments.out / f"leaderboard.{suffix}" for suffix in suffixes]
    for path, suffix in zip(paths, suffixes, strict=True):
        write_atomically(path, rendered(board, suffix))
    _say(rendered(board, "txt").decode())
    _say("".join(f"written: {path}\n" for path in paths))
    if arguments.formats is None and "parquet" not in suffixes:
        _say("not written: leaderboard.parquet needs pyarrow: pip install 'mimbench[reports]'\n")
    if not board.sections:
        raise WorkFailed(f"no usable run. {words(board).account}\n  remedy: finish or mend the runs listed above")
    return 0


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


def _prepare(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        rule = f"a folder that can be made ({error.strerror})"
        raise UserError.about("--out", str(out), rule, "name another folder") from None


def _say(text: str) -> None:
    """Print `text`, with escapes for what a terminal without UTF-8 cannot show."""
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding))
