"""`mimbench rung`: held-out losses of a sweep's pretrainings in, which of them go on out."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.errors import UserError, WorkFailed
from benchmarks.files.atomic import make_folder, write_atomically
from benchmarks.files.json_files import read_json_bytes
from benchmarks.runs.folder import follow, note_pruned, read_record
from benchmarks.runs.record import RunRecord
from benchmarks.runs.rungs import Candidate, Decision, decide, differing, held_out_at, loss_scale
from benchmarks.text.tables import aligned

EPILOG = """example:
  mimbench rung --share 0.1 --keep 0.33 --out rung.json --member low runs/RUN_A --member high runs/RUN_B

Each run is taken as it was at its first evaluation at or after the share; run it so far by `mimbench pretrain --until`.
The pipeline's sweeps with `rungs` do all of this by themselves.
"""
LARGEST_BYTES = 2**22


def main(argv: Sequence[str]) -> int:
    """Run the verb; return the exit code.

    Raises UserError for losses that were not measured alike, and WorkFailed where there is none to compare.
    """
    args = _parser().parse_args(argv)
    for name, value in (("--share", args.share), ("--keep", args.keep)):
        if not 0 < value < 1:
            raise UserError.about(name, value, "above 0 and below 1", f"{name} 0.33")
    entered = None if args.after is None else _kept_by(args.after)
    runs = {name: _run(Path(place)) for name, place in args.member if entered is None or name in entered}
    candidates = [_candidate(name, run, args.share) for name, run in runs.items()]
    _require_one_scale([one.record for one in candidates if one.record is not None])
    decision = decide(candidates, args.share, args.keep)
    make_folder(args.out.parent)
    write_atomically(args.out, decision.model_dump_json(indent=2).encode())
    for member in decision.members:
        if member.outcome == "pruned" and (run := runs[member.name]) is not None:
            _note(run, f"{member.name} at {args.share:g} of its training: {member.why}")
    rows = [("member", "held-out loss", "outcome", "why")]
    for one in decision.members:
        loss = "-" if one.held_out_loss is None else f"{one.held_out_loss:.6g}"
        rows.append((one.name, loss, one.outcome, one.why))
    print(aligned(rows))
    return 0


def _note(run: Path, why: str) -> None:
    try:
        note_pruned(run, why)
    except (OSError, WorkFailed) as error:  # another person's run: the decision stands in its own file
        print(f"not written into the record of {run}: {error}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mimbench rung",
        description="Compare pretrainings by their held-out loss at a share of their training; say which go on.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--share", type=float, required=True, metavar="S", help="the share of the training")
    parser.add_argument("--keep", type=float, required=True, metavar="K", help="the share of the members that go on")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="where the decision goes, as JSON")
    place = ("NAME", "RUN")
    what = "a pretraining: its name, and its run folder or the file that `--announce` wrote"
    parser.add_argument("--member", nargs=2, action="append", required=True, metavar=place, help=what)
    parser.add_argument(
        "--after", type=Path, metavar="FILE", help="the rung before: members that it ended are left out"
    )
    return parser


def _kept_by(file: Path) -> set[str]:
    try:
        before = Decision.model_validate_json(read_json_bytes(file, LARGEST_BYTES))
    except (OSError, ValueError):
        raise UserError.about("--after", str(file), "a file that `mimbench rung --out` wrote", "run it again") from None
    return {member.name for member in before.members if member.outcome == "kept"}


def _run(place: Path) -> Path | None:
    """Return a run's folder; None where it was announced and never began."""
    if place.is_dir():
        return place
    return follow(place) if place.exists() else None


def _candidate(name: str, run: Path | None, share: float) -> Candidate:
    if run is None:
        return Candidate(name, None, None)
    return Candidate(name, read_record(run), held_out_at(run, share))


def _require_one_scale(records: Sequence[RunRecord]) -> None:
    for record in records:
        if record.kind != "pretrain":
            raise UserError.about("--member", record.run_id, "a pretraining", "name runs of `mimbench pretrain`")
    if found := differing(map(loss_scale, records)):
        rule = f"pretrainings whose held-out losses are on one scale: they differ in {', '.join(found)}"
        remedy = "train each of them to its end, and compare their scores on a task"
        raise UserError.about("--member", ", ".join(record.run_id for record in records), rule, remedy)
