"""`mimbench report`: tables and a page from run records."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.errors import UserError, WorkFailed
from benchmarks.files import write_atomically

EXAMPLES = """examples:
  mimbench report leaderboard runs --out report
  mimbench report leaderboard runs --baseline supervised --task digits --out report
  mimbench report leaderboard 'runs/digits-*' pipelines/ID/stages --out report
  mimbench report masking --out report            # how far masks hide pixels; masking --help says more

A delta is shown only between rows that share task version, recipe, image size and data.
Exit codes: 0 done, 1 no usable run (the report says why), 2 what was asked for was wrong.
"""


def main(argv: Sequence[str]) -> int:
    """Run `mimbench report ...`; return the exit code."""
    arguments = _parser().parse_args(argv)
    return leaderboard(arguments.runs, arguments.out, arguments.baseline, arguments.task)


def _parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("mimbench report", "%(prog)s leaderboard RUNS... --out DIR", formatter_class=raw)
    verbs = parser.add_subparsers(prog="mimbench report", metavar="REPORT", required=True)
    help_text = "rank encoders by task, over seeds, with deltas to a baseline where they are fair"
    verb = verbs.add_parser("leaderboard", help=help_text, description=help_text, epilog=EXAMPLES, formatter_class=raw)
    runs_help = "run folders, folders of runs, globs, announcement files or folders of those"
    verb.add_argument("runs", nargs="+", metavar="RUNS", help=runs_help)
    verb.add_argument("--out", type=Path, required=True, metavar="DIR", help="where leaderboard.{txt,md,csv,html} go")
    verb.add_argument("--baseline", metavar="LABEL", help="the encoder that the others are compared with")
    verb.add_argument("--task", metavar="NAME", help="only this task (default: one table per task found)")
    return parser


def leaderboard(runs: Sequence[str], out: Path, baseline: str | None, task: str | None) -> int:
    """Write leaderboard.txt, .md, .csv and .html to `out` and print the text.

    Raises UserError for a wrong argument, and WorkFailed when no run is usable (the files are written all the same).
    """
    from benchmarks.tasks import find_task
    from reports.find import find_runs
    from reports.leaderboard import build
    from reports.page import to_html
    from reports.render import to_csv, to_markdown, to_text
    from reports.rows import collect

    if task is not None:
        find_task(task)
    board = build(collect(find_runs(runs), task), baseline)
    text = to_text(board)
    _prepare(out)
    files = {"txt": text, "md": to_markdown(board), "csv": to_csv(board), "html": to_html(board)}
    paths = [out / f"leaderboard.{suffix}" for suffix in files]
    for path, content in zip(paths, files.values(), strict=True):
        write_atomically(path, content.encode())
    _say(text)
    _say("".join(f"written: {path}\n" for path in paths))
    if not board.sections:
        raise WorkFailed(f"no usable run. {board.account}\n  remedy: finish or mend the runs listed above")
    return 0


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
