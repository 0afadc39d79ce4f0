"""Whether a leaderboard's files still agree with the records: it is made again and compared, file by file."""

from __future__ import annotations

import csv
import difflib
import html
import io
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import TypeAdapter

from benchmarks.errors import UserError
from benchmarks.files.json_files import parse_json
from reports.formats import FORMATS, rendered
from reports.leaderboard.board import Leaderboard, Request, make
from reports.page.leaderboard import REQUEST
from reports.page.packed import unpacked
from reports.records.pretrainings import transfers_of
from reports.records.signatures import Signature, signature_of
from reports.text import count, one_line

MOST_DIFFERENCES = 10
STEM = "leaderboard"
REQUESTED = TypeAdapter(Request)
GALLERY = re.compile(r'<section class="gallery">.*?</section>', re.DOTALL)


@dataclass(frozen=True)
class Finding:
    """How one file compares with the records."""

    path: Path
    differences: tuple[str, ...]
    """Lines as the file has them (-) and as the records make them (+), the first few; none where they agree."""
    compared: Literal["all", "rows", "nothing"] = "all"
    """What was compared: of reports of an earlier version only the rows of data files, their intervals left out."""
    without_pictures: bool = False
    """Whether pictures were left out of the comparison, as the images are no longer at hand."""

    @property
    def agrees(self) -> bool:
        return not self.differences and self.compared != "nothing"


class Verified(NamedTuple):
    """How the files of a leaderboard compare with its records, whether these are signed, and by what it was made."""

    files: list[Finding]
    signatures: dict[Path, Signature]
    """By the runs' folders."""
    made_by: str
    """The program that wrote the files; empty where they do not say it."""


def verify(place: Path, runs: Sequence[str] = (), signers: Path | None = None) -> Verified:
    """Make the leaderboard at `place` (a page, another of its files, or their folder) again and compare.

    `runs` are where the records lie now, if not where they lay when it was made. `signers` is as in `signature_of`.
    Raises UserError where there is no leaderboard, or none that records what it was made from.
    """
    paths = _files(place)
    request, stated = _request(place, paths)
    board = make(replace(request, runs=tuple(runs)) if runs else request)
    moved = dict(zip(runs, request.runs, strict=False)) if len(runs) == len(request.runs) else {}
    asked = replace(board, request=request)
    if not {"intervals", "layout"} <= set(stated):
        ignored = NOTHING if "intervals" in stated else BY_BOOTSTRAP
        found = [_as_of_then(path, asked, moved, ignored) for path in paths]
    else:
        found = [_compared(path, asked, moved) for path in paths]
    folders = dict.fromkeys(run.folder for run in (*transfers_of(board.collected), *board.pretrainings))
    return Verified(found, {folder: signature_of(folder, signers) for folder in folders}, request.made_by)


def _files(place: Path) -> list[Path]:
    if place.is_dir():
        found = [path for suffix in FORMATS if (path := place / f"{STEM}.{suffix}").is_file()]
    else:
        found = [place] if place.is_file() and place.suffix[1:] in FORMATS else []
    if not found:
        rule = f"a file or a folder that `mimbench report {STEM}` wrote"
        raise UserError.about("PAGE_OR_DIR", str(place), rule, "check the path")
    return found


def _request(place: Path, paths: Sequence[Path]) -> tuple[Request, Collection[str]]:
    """Return what was asked for, which the page and the JSON file record, and the fields in which it is recorded."""
    folder = place if place.is_dir() else place.parent
    for path in [*paths, folder / f"{STEM}.json", folder / f"{STEM}.html"]:
        if (found := _recorded_request(path)) is not None:
            return found
    rule = f"recorded in {STEM}.json or {STEM}.html beside it"
    raise UserError.about(f"what {place} was made from", "(unknown)", rule, "verify the whole folder")


def _recorded_request(path: Path) -> tuple[Request, Collection[str]] | None:
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".json":
            fields = parse_json(text)["request"]
        else:
            (content,) = re.findall(rf'<meta name="{REQUEST}" content="([^"]*)">', text)
            fields = parse_json(html.unescape(content))
        return REQUESTED.validate_python(fields), fields.keys()
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _compared(path: Path, board: Leaderboard, moved: Mapping[str, str]) -> Finding:
    """Return how a file differs from what the records make; `moved` gives the records' old place by their new one.

    Pictures of a page whose images are no longer at hand are left out of the comparison.
    """
    expected, found = _expected(path, board, moved), path.read_bytes()
    if expected == found or (moved and path.suffix == ".txt" and _agrees_but_for_lines(found, board, moved)):
        return Finding(path, ())
    if path.suffix == ".parquet":
        return Finding(path, ("the tables differ; the other formats show where",))
    before, after = found.decode(errors="replace"), expected.decode()
    if path.suffix == ".html":
        before, after = unpacked(before), unpacked(after)
    kept = _without_lost_pictures(before, after) if board.request.pictures and path.suffix == ".html" else before
    return Finding(path, tuple(_changed(kept.splitlines(), after.splitlines())), without_pictures=kept != before)


def _without_lost_pictures(before: str, after: str) -> str:
    """Return a page with the galleries of another in the place of its own, where the other one's have no pictures."""
    own, others = GALLERY.findall(before), GALLERY.findall(after)
    if len(own) == len(others):
        for mine, other in zip(own, others, strict=True):
            if "<img" in mine and "<img" not in other:
                before = before.replace(mine, other, 1)
    return before


def _agrees_but_for_lines(found: bytes, board: Leaderboard, moved: Mapping[str, str]) -> bool:
    """Tell whether a text has the same characters: where its lines break depends on how long the paths in them are."""
    made = b"".join(rendered(board, "txt").split())
    for new, old in moved.items():
        made = made.replace(b"".join(new.encode().split()), b"".join(old.encode().split()))
    return made == b"".join(found.split())


def _expected(path: Path, board: Leaderboard, moved: Mapping[str, str]) -> bytes:
    made = rendered(board, path.suffix[1:])
    for new, old in moved.items():
        made = made.replace(new.encode(), old.encode())
    return made


def _changed(before: Sequence[str], after: Sequence[str]) -> Iterator[str]:
    """Yield the first lines that differ, and how many more there are."""
    marks = ("---", "+++", "@@")
    changed = [line for line in difflib.unified_diff(before, after, n=0, lineterm="") if not line.startswith(marks)]
    for line in changed[:MOST_DIFFERENCES]:
        yield one_line(line)
    if len(changed) > MOST_DIFFERENCES:
        yield f"and {count(len(changed) - MOST_DIFFERENCES, 'more line')}"


def _as_of_then(path: Path, board: Leaderboard, moved: Mapping[str, str], ignored: re.Pattern[str]) -> Finding:
    """Compare a file of an earlier version: its rows alone, in any order, without the fields that are `ignored`."""
    if path.suffix not in ROWS:
        return Finding(path, (), "nothing")
    read = ROWS[path.suffix]
    try:
        found = read(path.read_text(encoding="utf-8"))
    except (ValueError, LookupError, TypeError):
        return Finding(path, ("its rows cannot be read",), "rows")
    made = read(_expected(path, board, moved).decode())
    fields = sorted({name for row in found for name in row if not ignored.search(name)})
    sides = [
        sorted(([f"{name}: {row.get(name)}" for name in fields] for row in rows), key=str) for rows in (found, made)
    ]
    before, after = ([line for row in side for line in row] for side in sides)
    return Finding(path, tuple(_changed(before, after)), "rows")


def _of_csv(text: str) -> list[dict[str, Any]]:
    return list(csv.DictReader(io.StringIO(text)))


def _of_json(text: str) -> list[dict[str, Any]]:
    return [dict(row) for row in parse_json(text)["rows"]]


ROWS = {".csv": _of_csv, ".json": _of_json}
BY_BOOTSTRAP = re.compile("_delta_low$|_delta_high$|^delta_note$")
"""Fields of a row that say otherwise since intervals are Student's t."""
NOTHING = re.compile("(?!)")
