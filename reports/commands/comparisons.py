"""`mimbench report compare` and `verdict`."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

from benchmarks.errors import UserError, WorkFailed
from benchmarks.files.atomic import write_atomically
from reports.api import prepare
from reports.commands.common import RAW, RUNS_HELP, Verbs, say
from reports.text import one_line, within_width

COMPARE_EXAMPLES = """examples:
  mimbench report compare simmim supervised --in runs
  mimbench report compare pipelines/OLD/stages pipelines/NEW/stages --out comparison

Exit codes: 0 done, 1 nothing could be paired, 2 what was asked for was wrong.
"""


def add_compare(verbs: Verbs) -> None:
    text = "two encoders or two pipelines: what differs in them, and what that gains and loses"
    verb = verbs.add_parser("compare", help=text, description=text, epilog=COMPARE_EXAMPLES, formatter_class=RAW)
    for name in ("a", "b"):
        verb.add_argument(name, metavar=name.upper(), help=f"{RUNS_HELP}; with --in, the label of an encoder")
    verb.add_argument("--in", dest="within", nargs="+", default=(), metavar="RUNS", help="runs of both encoders")
    verb.add_argument("--out", type=Path, metavar="DIR", help="also write comparison.txt, .json and .html there")
    seen = "show in comparison.html the test images that only one side gets right, where the images are at hand"
    verb.add_argument("--pictures", action="store_true", help=seen)
    verb.set_defaults(run=compare)


def add_verdict(verbs: Verbs) -> None:
    text = "do cheap signals (held-out masked loss, k-NN, probes, AvgDist) rank encoders as fine-tuning does?"
    verb = verbs.add_parser("verdict", help=text, description=text, formatter_class=RAW)
    verb.add_argument("runs", nargs="*", metavar="RUNS", help=f"{RUNS_HELP}; without: published runs alone")
    verb.set_defaults(run=verdict)


def compare(arguments: argparse.Namespace) -> int:
    """Print two sides next to each other. Raises WorkFailed when they have no task in common."""
    from reports.compare.two_sides import side_by_side
    from reports.page.comparison import to_html
    from reports.tables.comparison_text import to_json, to_text

    if arguments.pictures and arguments.out is None:
        raise UserError.about("--pictures", "(given)", "with --out, where the page goes", "add --out DIR")
    if not arguments.within:
        for name in ("a", "b"):
            _require_runs(name.upper(), getattr(arguments, name))
    both = side_by_side(arguments.a, arguments.b, arguments.within)
    say(to_text(both))
    if arguments.out is not None:
        prepare(arguments.out)
        page = to_html(both, pictures=arguments.pictures)
        for suffix, content in {"txt": to_text(both), "json": to_json(both), "html": page}.items():
            write_atomically(arguments.out / f"comparison.{suffix}", content.encode())
            say(f"written: {arguments.out / f'comparison.{suffix}'}")
    if not both.pairings:
        raise WorkFailed("nothing to compare: no row of A and row of B are of one task\n  remedy: see the rows above")
    return 0


def _require_runs(field: str, given: str) -> None:
    """Raise UserError where a word that names no file stands for runs: it may be the label of an encoder."""
    if not any(mark in given for mark in "/*?[") and not Path(given).exists():
        rule = "a run folder or a folder of runs; the label of an encoder only with --in"
        raise UserError.about(field, given, rule, "check the path, or add --in runs")


def verdict(arguments: argparse.Namespace) -> int:
    """Print the rank correlations over the runs at hand, and over the published runs."""
    from reports.compare.early_verdict import conclusion, published
    from reports.leaderboard.board import Request, make
    from reports.leaderboard.notes import doubts_of_losses

    if arguments.runs:
        board = make(Request(tuple(arguments.runs)))
        found = [f"{section.title}: {one.words}" for section in board.sections for one in section.verdicts]
        say("Runs at hand:")
        found = found or ["no encoder has a cheap signal and a final score"]
        _say_lines((*found, *doubts_of_losses(board)))
    say(within_width(f"Published runs (SimMIM with SwinV2, by model size). {one_line(conclusion().words)}"))
    _say_lines([one.words for one in published()])
    return 0


def _say_lines(lines: Iterable[str]) -> None:
    say(within_width("\n".join(f"  {one_line(line)}" for line in lines)))
