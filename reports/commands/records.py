"""`mimbench report verify` and `sign`."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.errors import UserError, WorkFailed
from benchmarks.version import program
from reports.commands.common import RAW, RUNS_HELP, Verbs, say
from reports.text import one_line, within_width

if TYPE_CHECKING:
    from reports.records.signatures import Signature

EARLIER = (
    "made by an earlier version, which laid out text and pages otherwise: only the rows of data files are compared, "
    "percentile bootstraps left out. Make the leaderboard again to verify all of it."
)

OTHERWISE = (
    "made by {}, compared by {}: where no number differs, the program may have learnt to say the same otherwise."
)


def add_verify(verbs: Verbs) -> None:
    text = "make a leaderboard again from its records and say whether it still agrees with them"
    verb = verbs.add_parser("verify", help=text, description=text, formatter_class=RAW)
    verb.add_argument("place", type=Path, metavar="PAGE_OR_DIR", help="what `mimbench report leaderboard` wrote")
    verb.add_argument("--runs", nargs="+", default=(), metavar="RUNS", help="where the records lie now, if elsewhere")
    signers = "whose signatures count: a file of allowed signers (man ssh-keygen); without: those of any key"
    verb.add_argument("--signers", type=Path, metavar="FILE", help=signers)
    verb.set_defaults(run=verify)


def add_sign(verbs: Verbs) -> None:
    text = "sign finished runs with a key of OpenSSH: `verify` then says whose they are, and which were changed"
    verb = verbs.add_parser("sign", help=text, description=text, formatter_class=RAW)
    verb.add_argument("runs", nargs="+", metavar="RUNS", help=RUNS_HELP)
    verb.add_argument("--key", type=Path, required=True, metavar="FILE", help="such as ~/.ssh/id_ed25519")
    verb.set_defaults(run=sign)


def verify(arguments: argparse.Namespace) -> int:
    """Print for every file whether it agrees with the records, and which of these are signed by whom.

    Raises WorkFailed when a file does not agree, or a record is wrongly signed.
    """
    from reports.verify import verify as check

    if arguments.signers is not None and not arguments.signers.is_file():
        raise UserError.about("--signers", str(arguments.signers), "a file of allowed signers", "check the path")
    findings, signatures, made_by = check(arguments.place, arguments.runs, arguments.signers)
    _say_signatures(signatures)
    for finding in findings:
        word = "agrees" if finding.agrees else "not compared" if finding.compared == "nothing" else "differs"
        lost = ", but for its pictures: the test images are no longer at hand" if finding.without_pictures else ""
        say(f"{word}: {finding.path}{lost}")
        for line in finding.differences:
            say(within_width(f"    {line}"))
    if any(finding.compared != "all" for finding in findings):
        say(EARLIER)
        if not any(finding.agrees for finding in findings):
            raise WorkFailed("nothing agrees with the records\n  remedy: make the leaderboard again")
    if differing := [str(finding.path) for finding in findings if finding.differences]:
        if made_by != program():
            say(within_width(one_line(OTHERWISE.format(made_by or "a version that did not name itself", program()))))
        remedy = "make the leaderboard again, or find out who changed a record or a file"
        raise WorkFailed(f"not what the records say: {', '.join(differing)}\n  remedy: {remedy}")
    if wrong := sum(found.state == "wrongly signed" for found in signatures.values()):
        raise WorkFailed(f"records wrongly signed: {wrong:,}\n  remedy: ask who signed them for the runs as they were")
    return 0


def _say_signatures(signatures: Mapping[Path, Signature]) -> None:
    """Print how many records are signed by whom, and every one that is wrongly signed; nothing where none is signed."""
    if all(found.state == "unsigned" for found in signatures.values()):
        return
    for words, number in Counter(f"{each.state} {each.words}" for each in signatures.values()).items():
        if not words.startswith("wrongly"):
            say(f"records {one_line(words.strip())}: {number:,}")
    for folder, found in signatures.items():
        if found.state == "wrongly signed":
            say(f"record wrongly signed: {one_line(f'{folder}: {found.words}')}")


def sign(arguments: argparse.Namespace) -> int:
    """Sign every finished run. Raises WorkFailed where there is none."""
    from benchmarks.runs.find import find_runs
    from reports.records.signatures import sign as sign_run

    folders = {run.folder for run in find_runs(arguments.runs).runs if run.record.status == "completed"}
    for folder in sorted(folders):
        sign_run(folder, arguments.key)
        say(f"signed: {folder}")
    if not folders:
        raise WorkFailed("no finished run to sign\n  remedy: name folders of runs that are completed")
    return 0
