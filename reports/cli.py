"""`mimbench report`: tables and a page from run records."""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib.util
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.errors import UserError, WorkFailed, did_you_mean, require_word
from benchmarks.files.atomic import write_atomically
from reports.text import one_line

EXAMPLES = """examples:
  mimbench report leaderboard runs --out report
  mimbench report leaderboard runs --baseline supervised --task digits --out report
  mimbench report leaderboard 'runs/digits-*' pipelines/ID/stages --out report

A delta is shown only between rows that share task version, recipe, image size and data.
Exit codes: 0 done, 1 no usable run (the report says why), 2 what was asked for was wrong.
"""
COMPARE_EXAMPLES = """examples:
  mimbench report compare simmim supervised --in runs
  mimbench report compare pipelines/OLD/stages pipelines/NEW/stages --out comparison

Exit codes: 0 done, 1 nothing could be paired, 2 what was asked for was wrong.
"""
VERBS = ("leaderboard", "compare", "verdict", "verify", "sign")
SUFFIXES = ("txt", "md", "csv", "json", "parquet", "tex", "html")
RAW = argparse.RawDescriptionHelpFormatter
EARLIER = (
    "made by an earlier version, which laid out text and pages otherwise: only the rows of data files are compared, "
    "percentile bootstraps left out. Make the leaderboard again to verify all of it."
)
RUNS_HELP = "run folders, folders of runs, globs, announcement files or folders of those"
if TYPE_CHECKING:
    from reports.records.signatures import Signature

    Verbs = argparse._SubParsersAction[argparse.ArgumentParser]


def main(argv: Sequence[str]) -> int:
    """Run `mimbench report ...`; return the exit code."""
    if argv and not argv[0].startswith("-"):
        require_word("report", argv[0], VERBS, "a report of `mimbench report`")
    arguments = _parser().parse_args(argv)
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
    parser = argparse.ArgumentParser("mimbench report")
    verbs = parser.add_subparsers(prog="mimbench report", metavar="REPORT", required=True)
    _add_leaderboard(verbs)
    _add_compare(verbs)
    _add_verdict(verbs)
    _add_verify(verbs)
    _add_sign(verbs)
    return parser


def _add_leaderboard(verbs: Verbs) -> None:
    text = "rank encoders by task, over seeds, with deltas to a baseline where they are fair"
    verb = verbs.add_parser("leaderboard", help=text, description=text, epilog=EXAMPLES, formatter_class=RAW)
    verb.add_argument("runs", nargs="+", metavar="RUNS", help=RUNS_HELP)
    verb.add_argument("--out", type=Path, required=True, metavar="DIR", help="where leaderboard.SUFFIX go")
    verb.add_argument("--baseline", metavar="LABEL", help="the encoder that the others are compared with")
    verb.add_argument("--task", metavar="NAME", help="only this task (default: one table per task found)")
    shown = "published results beside the measured: of the same backbones (default), all of the task's, or none"
    verb.add_argument("--references", choices=("same", "all", "none"), default="same", help=shown)
    verb.add_argument("--unverified", action="store_true", help="also published results not read in their source")
    corrected = "also the p of every difference, corrected by Holm for their number in a task's table"
    verb.add_argument("--holm", action="store_true", help=corrected)
    verb.add_argument("--formats", metavar="LIST", help=f"of {','.join(SUFFIXES)} (default: all)")
    verb.set_defaults(run=leaderboard)


def _add_compare(verbs: Verbs) -> None:
    text = "two encoders or two pipelines: what differs in them, and what that gains and loses"
    verb = verbs.add_parser("compare", help=text, description=text, epilog=COMPARE_EXAMPLES, formatter_class=RAW)
    for name in ("a", "b"):
        verb.add_argument(name, metavar=name.upper(), help=f"{RUNS_HELP}; with --in, the label of an encoder")
    verb.add_argument("--in", dest="within", nargs="+", default=(), metavar="RUNS", help="runs of both encoders")
    verb.add_argument("--out", type=Path, metavar="DIR", help="also write comparison.txt, .json and .html there")
    verb.set_defaults(run=compare)


def _add_verdict(verbs: Verbs) -> None:
    text = "do cheap signals (held-out masked loss, k-NN, probes, AvgDist) rank encoders as fine-tuning does?"
    verb = verbs.add_parser("verdict", help=text, description=text, formatter_class=RAW)
    verb.add_argument("runs", nargs="*", metavar="RUNS", help=f"{RUNS_HELP}; without: published runs alone")
    verb.set_defaults(run=verdict)


def _add_verify(verbs: Verbs) -> None:
    text = "make a leaderboard again from its records and say whether it still agrees with them"
    verb = verbs.add_parser("verify", help=text, description=text, formatter_class=RAW)
    verb.add_argument("place", type=Path, metavar="PAGE_OR_DIR", help="what `mimbench report leaderboard` wrote")
    verb.add_argument("--runs", nargs="+", default=(), metavar="RUNS", help="where the records lie now, if elsewhere")
    signers = "whose signatures count: a file of allowed signers (man ssh-keygen); without: those of any key"
    verb.add_argument("--signers", type=Path, metavar="FILE", help=signers)
    verb.set_defaults(run=verify)


def _add_sign(verbs: Verbs) -> None:
    text = "sign finished runs with a key of OpenSSH: `verify` then says whose they are, and which were changed"
    verb = verbs.add_parser("sign", help=text, description=text, formatter_class=RAW)
    verb.add_argument("runs", nargs="+", metavar="RUNS", help=RUNS_HELP)
    verb.add_argument("--key", type=Path, required=True, metavar="FILE", help="such as ~/.ssh/id_ed25519")
    verb.set_defaults(run=sign)


def leaderboard(arguments: argparse.Namespace) -> int:
    """Write leaderboard.SUFFIX to the folder asked for and print the text.

    Raises UserError for a wrong argument, and WorkFailed when no run is usable (the files are written all the same).
    """
    from benchmarks.catalogue.tasks import find_task
    from reports.formats import rendered
    from reports.leaderboard.board import Request, make
    from reports.leaderboard.notes import words

    if arguments.task is not None:
        find_task(arguments.task)
    suffixes = _formats(arguments.formats)
    if arguments.holm and arguments.baseline is None:
        raise UserError.about("--holm", "(given)", "with --baseline, to which differences are", "add --baseline LABEL")
    asked = {name: getattr(arguments, name) for name in ("baseline", "task", "references", "unverified", "holm")}
    board = make(Request(tuple(arguments.runs), **asked))
    _prepare(arguments.out)
    paths = [arguments.out / f"leaderboard.{suffix}" for suffix in suffixes]
    text = rendered(board, "txt")
    for path, suffix in zip(paths, suffixes, strict=True):
        write_atomically(path, text if suffix == "txt" else rendered(board, suffix))
    _say(text.decode())
    _say("".join(f"written: {path}\n" for path in paths))
    if arguments.formats is None and "parquet" not in suffixes:
        _say("not written: leaderboard.parquet needs pyarrow: pip install 'mimbench[reports]'\n")
    if not board.sections:
        raise WorkFailed(f"no usable run. {words(board).account}\n  remedy: finish or repair the runs listed above")
    return 0


def compare(arguments: argparse.Namespace) -> int:
    """Print two sides next to each other. Raises WorkFailed when they have no task in common."""
    from reports.compare.two_sides import side_by_side
    from reports.page.comparison import to_html
    from reports.tables.comparison_text import to_json, to_text

    both = side_by_side(arguments.a, arguments.b, arguments.within)
    _say(to_text(both))
    if arguments.out is not None:
        _prepare(arguments.out)
        for suffix, content in {"txt": to_text(both), "json": to_json(both), "html": to_html(both)}.items():
            write_atomically(arguments.out / f"comparison.{suffix}", content.encode())
            _say(f"written: {arguments.out / f'comparison.{suffix}'}")
    if not both.pairings:
        raise WorkFailed("nothing to compare: no row of A and row of B are of one task\n  remedy: see the rows above")
    return 0


def verdict(arguments: argparse.Namespace) -> int:
    """Print the rank correlations over the runs at hand, and over the published runs."""
    from reports.compare.early_verdict import published
    from reports.leaderboard.board import Request, make
    from reports.leaderboard.notes import doubts_of_losses

    if arguments.runs:
        board = make(Request(tuple(arguments.runs)))
        found = [f"{section.task.name}: {one.words}" for section in board.sections for one in section.verdicts]
        _say("Runs at hand:")
        found = found or ["no encoder has a cheap signal and a final score"]
        _say("\n".join(f"  {one_line(line)}" for line in (*found, *doubts_of_losses(board))))
    _say("Published runs (SimMIM with SwinV2, by model size):")
    _say("\n".join(f"  {one_line(one.words)}" for one in published()))
    return 0


def verify(arguments: argparse.Namespace) -> int:
    """Print for every file whether it agrees with the records, and which of these are signed by whom.

    Raises WorkFailed when a file does not agree, or a record is wrongly signed.
    """
    from reports.verify import verify as check

    if arguments.signers is not None and not arguments.signers.is_file():
        raise UserError.about("--signers", str(arguments.signers), "a file of allowed signers", "check the path")
    findings, signatures = check(arguments.place, arguments.runs, arguments.signers)
    _say_signatures(signatures)
    for finding in findings:
        word = "agrees" if finding.agrees else "not compared" if finding.compared == "nothing" else "differs"
        _say(f"{word}: {finding.path}")
        for line in finding.differences:
            _say(f"    {line}")
    if any(finding.compared != "all" for finding in findings):
        _say(EARLIER)
        if not any(finding.agrees for finding in findings):
            raise WorkFailed("nothing agrees with the records\n  remedy: make the leaderboard again")
    if differing := [str(finding.path) for finding in findings if finding.differences]:
        remedy = "make the leaderboard again, or find out who changed a record or a file"
        raise WorkFailed(f"not what the records say: {', '.join(differing)}\n  remedy: {remedy}")
    if wrong := sum(found.state == "wrongly signed" for found in signatures.values()):
        raise WorkFailed(f"records wrongly signed: {wrong}\n  remedy: ask who signed them for the runs as they were")
    return 0


def _say_signatures(signatures: Mapping[Path, Signature]) -> None:
    """Print how many records are signed by whom, and every one that is wrongly signed; nothing where none is signed."""
    if all(found.state == "unsigned" for found in signatures.values()):
        return
    for words, number in Counter(f"{each.state} {each.words}" for each in signatures.values()).items():
        if not words.startswith("wrongly"):
            _say(f"records {one_line(words.strip())}: {number}")
    for folder, found in signatures.items():
        if found.state == "wrongly signed":
            _say(f"record wrongly signed: {one_line(f'{folder}: {found.words}')}")


def sign(arguments: argparse.Namespace) -> int:
    """Sign every finished run. Raises WorkFailed where there is none."""
    from benchmarks.runs.find import find_runs
    from reports.records.signatures import sign as sign_run

    folders = {run.folder for run in find_runs(arguments.runs).runs if run.record.status == "completed"}
    for folder in sorted(folders):
        sign_run(folder, arguments.key)
        _say(f"signed: {folder}")
    if not folders:
        raise WorkFailed("no finished run to sign\n  remedy: name folders of runs that are completed")
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
