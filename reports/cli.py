"""`mimbench report`: tables and a page from run records."""

from __future__ import annotations

import argparse
import contextlib
import gc
from collections.abc import Iterator, Sequence

from benchmarks.errors import WRONG_CODE, require_word
from reports.commands.comparisons import add_compare, add_verdict
from reports.commands.leaderboard import add_leaderboard, add_publish
from reports.commands.records import add_sign, add_verify

EPILOG = "`mimbench report REPORT --help` explains one report, with examples."
VERBS = ("leaderboard", "publish", "compare", "verdict", "verify", "sign")


def main(argv: Sequence[str]) -> int:
    """Run `mimbench report ...`; return the exit code."""
    if argv and not argv[0].startswith("-"):
        require_word("report", argv[0], VERBS, "a report of `mimbench report`")
    parser = _parser()
    arguments = parser.parse_args(argv)
    if "run" not in arguments:
        parser.print_help()
        return WRONG_CODE
    with _no_collector():
        code: int = arguments.run(arguments)
    return code


@contextlib.contextmanager
def _no_collector() -> Iterator[None]:
    """Switch Python's garbage collector off: among thousands of records it takes a quarter of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("mimbench report", description="Reports from the records of runs.", epilog=EPILOG)
    verbs = parser.add_subparsers(prog="mimbench report", metavar="REPORT")
    add_leaderboard(verbs)
    add_publish(verbs)
    add_compare(verbs)
    add_verdict(verbs)
    add_verify(verbs)
    add_sign(verbs)
    return parser
