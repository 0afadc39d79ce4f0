"""Find run records: in run folders, folders of runs, globs, announcement files and folders of those.

Whatever is found is accounted for: it is a record, or it is left out with the reason in words.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from benchmarks.errors import UserError
from benchmarks.files.ahead import read_ahead
from benchmarks.files.divided import divided
from benchmarks.files.json_files import read_json
from benchmarks.runs.folder import LOCK, METRICS, RECORD, announced_label, follow, read_record
from benchmarks.runs.migrations import NewerSchema
from benchmarks.runs.record import RunRecord
from benchmarks.runs.shared import SharedParts

Place = tuple[int, int] | str


@dataclass(frozen=True)
class FoundRun:
    """A readable record and the folder it lies in."""

    folder: Path
    record: RunRecord
    collection: str = ""
    """The name of the collection that it was found in; empty where there is only one."""


@dataclass(frozen=True)
class Candidate:
    """A folder that may hold a run, and the encoder's name in the announcement that led there."""

    folder: Path
    label: str | None = None


@dataclass(frozen=True)
class LeftOut:
    """A record that is in no table, and why."""

    where: str
    kind: str
    """The short reason by which such records are counted, such as `failed` or `damaged`."""
    detail: str
    label: str | None = None
    """The encoder's name, where the record could be read."""

    @property
    def reason(self) -> str:
        return f"{self.kind}: {self.detail}" if self.detail else self.kind


@dataclass
class Findings:
    """Everything that the arguments led to, each run once under each name."""

    runs: list[FoundRun] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    shared: SharedParts = field(default_factory=SharedParts)


def find_runs(arguments: Sequence[str]) -> Findings:
    """Return every record that `arguments` lead to. Raises UserError for an argument that leads nowhere."""
    paths = [path for argument in arguments for path in _expand(argument)]
    candidates = [candidate for path in paths for candidate in _candidates(path, given=True)]
    findings, seen = Findings(), set[tuple[Place, str | None]]()
    for candidate, look in zip(candidates, divided(_looked_into, candidates), strict=True):
        _take(candidate, look, findings, seen)
    return findings


def _expand(argument: str) -> list[Path]:
    if os.path.exists(argument):
        return [Path(argument)]
    paths = [Path(name) for name in sorted(glob.glob(argument, recursive=True))]
    if not paths:
        rule = "a run folder, a folder of runs, an announcement file, or a glob that matches some"
        raise UserError.about("RUNS", argument, rule, "check the path; `mimbench pipeline status` shows where runs lie")
    return paths


def _is_run(path: Path) -> bool:
    """Tell whether a run lies here, also one that lost its record: it has what a run writes beside it."""
    return any(os.path.exists(f"{path}/{name}") for name in (RECORD, LOCK, METRICS))


def _candidates(path: Path, *, given: bool) -> Iterator[Candidate | LeftOut]:
    """Yield run folders below `path`. A .json file that is no announcement is a mistake only when it was `given`."""
    if _is_run(path):  # asked first: of thousands nearly all are
        yield Candidate(path)
    elif path.is_file():
        yield from _announced(path, given=given)
    elif given or not path.is_symlink():  # a link to a run counts; one to a folder of folders could be a circle
        try:
            with os.scandir(path) as entries:
                names = sorted(entry.name for entry in entries if _may_lead_to_runs(entry))
        except OSError as error:
            yield LeftOut(str(path), "unreadable", error.strerror or str(error))
            return
        for name in names:
            yield from _candidates(path / name, given=False)


def _may_lead_to_runs(entry: os.DirEntry[str]) -> bool:
    if entry.name.startswith("."):
        return False
    try:
        return entry.name.endswith(".json") or entry.is_dir()
    except OSError:  # a link in a circle
        return False


def _announced(path: Path, *, given: bool) -> Iterator[Candidate | LeftOut]:
    if path.name == RECORD and given:
        yield Candidate(path.parent)
        return
    try:
        folder = follow(path)
    except UserError:
        if given:
            raise
        if not _is_json(path):
            yield LeftOut(str(path), "damaged", "neither a record nor an announcement: not valid JSON")
        return
    if (folder / RECORD).exists():
        yield Candidate(folder, announced_label(path))
    else:
        yield LeftOut(str(path), "no record", f"it announces {folder}, where no {RECORD} lies")


def _is_json(path: Path) -> bool:
    try:
        read_json(path)
    except (OSError, ValueError):
        return False
    return True


class _Look(NamedTuple):
    """What lies in a candidate's folder."""

    place: Place | None
    """None where there is no folder to look into."""
    found: RunRecord | LeftOut


def _record_of(candidate: Candidate | LeftOut) -> list[Path]:
    return [candidate.folder / RECORD] if isinstance(candidate, Candidate) else []


def _looked_into(candidates: Sequence[Candidate | LeftOut]) -> list[_Look]:
    """Return what lies in some folders; parts that their records have alike are held, and handed over, once."""
    shared, looks = SharedParts(), []
    for candidate in read_ahead(candidates, _record_of):
        if isinstance(candidate, LeftOut):
            looks.append(_Look(None, candidate))
            continue
        found = _read(candidate.folder)
        if isinstance(found, RunRecord):
            found = shared.of(_named(found, candidate.label))
        looks.append(_Look(_place(candidate.folder), found))
    return looks


def _take(candidate: Candidate | LeftOut, look: _Look, findings: Findings, seen: set[tuple[Place, str | None]]) -> None:
    record = look.found if isinstance(look.found, RunRecord) else None
    if look.place is not None:
        key = (look.place, record.encoder.label if record is not None and record.encoder is not None else None)
        if key in seen:  # reached twice, for instance through runs/ and through an announcement
            return
        seen.add(key)
    if isinstance(candidate, Candidate) and record is not None:
        findings.runs.append(FoundRun(candidate.folder, findings.shared.of(record)))
    elif isinstance(look.found, LeftOut):
        findings.left_out.append(look.found)


def _place(folder: Path) -> Place:
    """Return what a folder is known by under all of its names; its path where it cannot be asked."""
    try:
        status = folder.stat()
    except OSError:
        return str(folder)
    return status.st_dev, status.st_ino


def _named(record: RunRecord, label: str | None) -> RunRecord:
    """Return the record with the name its announcement gives the encoder: a shared run has one for each pipeline."""
    if label is None or record.encoder is None:
        return record
    return record.model_copy(update={"encoder": record.encoder.model_copy(update={"label": label})})


def _read(folder: Path) -> RunRecord | LeftOut:
    try:
        record = read_record(folder)
    except UserError as error:
        return _unreadable(str(folder / RECORD), error)
    return LeftOut(str(folder), "no record", f"a run folder without {RECORD}") if record is None else record


def _unreadable(where: str, error: UserError) -> LeftOut:
    match error.__context__:
        case OSError() as cause:
            return LeftOut(where, "unreadable", cause.strerror or str(cause))
        case NewerSchema() as cause:
            return LeftOut(where, "newer schema", str(cause))
        case ValidationError() as cause if any(detail["loc"] for detail in cause.errors()):
            faults = [f"{'.'.join(map(str, detail['loc']))}: {detail['msg']}" for detail in cause.errors()[:3]]
            return LeftOut(where, "damaged", "; ".join(faults))
        case ValidationError():
            return LeftOut(where, "damaged", "not a whole JSON object")
        case cause:
            return LeftOut(where, "damaged", str(cause))
