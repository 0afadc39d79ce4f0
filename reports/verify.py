"""Whether a leaderboard's files still agree with the records: it is made again and compared, file by file."""

from __future__ import annotations

import difflib
import html
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import TypeAdapter

from benchmarks.errors import UserError
from benchmarks.files.json_files import parse_json
from reports.formats import FORMATS, rendered
from reports.leaderboard.board import Leaderboard, Request, make
from reports.page.leaderboard import REQUEST
from reports.text import one_line

MOST_DIFFERENCES = 10
STEM = "leaderboard"
REQUESTED = TypeAdapter(Request)


@dataclass(frozen=True)
class Finding:
    """How one file compares with the records."""

    path: Path
    differences: tuple[str, ...]
    """Lines as the file has them (-) and as the records make them (+), the first few; none where they agree."""

    @property
    def agrees(self) -> bool:
        return not self.differences


def verify(place: Path, runs: Sequence[str] = ()) -> list[Finding]:
    """Make the leaderboard at `place` (a page, another of its files, or their folder) again and compare.

    `runs` are where the records lie now, if not where they lay when it was made. Raises UserError where there is no
    leaderboard, or none that records what it was made from.
    """
    paths = _files(place)
    request = _request(place, paths)
    board = make(replace(request, runs=tuple(runs)) if runs else request)
    moved = dict(zip(runs, request.runs, strict=False)) if len(runs) == len(request.runs) else {}
    asked = replace(board, request=request)
    return [Finding(path, tuple(_differences(path, asked, moved))) for path in paths]


def _files(place: Path) -> list[Path]:
    if place.is_dir():
        found = [path for suffix in FORMATS if (path := place / f"{STEM}.{suffix}").is_file()]
    else:
        found = [place] if place.is_file() and place.suffix[1:] in FORMATS else []
    if not found:
        rule = f"a file or a folder that `mimbench report {STEM}` wrote"
        raise UserError.about("PAGE_OR_DIR", str(place), rule, "check the path")
    return found


def _request(place: Path, paths: Sequence[Path]) -> Request:
    """Return what was asked for, which the page and the JSON file record."""
    folder = place if place.is_dir() else place.parent
    for path in [*paths, folder / f"{STEM}.json", folder / f"{STEM}.html"]:
        if (found := _recorded_request(path)) is not None:
            return found
    rule = f"recorded in {STEM}.json or {STEM}.html beside it"
    raise UserError.about(f"what {place} was made from", "(unknown)", rule, "verify the whole folder")


def _recorded_request(path: Path) -> Request | None:
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".json":
            fields = parse_json(text)["request"]
        else:
            (content,) = re.findall(rf'<meta name="{REQUEST}" content="([^"]*)">', text)
            fields = parse_json(html.unescape(content))
        return REQUESTED.validate_python(fields)
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _differences(path: Path, board: Leaderboard, moved: Mapping[str, str]) -> Iterator[str]:
    """Yield how a file differs from what the records make; `moved` gives the records' old place by their new one."""
    expected, found = rendered(board, path.suffix[1:]), path.read_bytes()
    for new, old in moved.items():
        expected = expected.replace(new.encode(), old.encode())
    if expected == found:
        return
    if path.suffix == ".parquet":
        yield "the tables differ; the other formats show where"
        return
    before, after = found.decode(errors="replace").splitlines(), expected.decode().splitlines()
    marks = ("---", "+++", "@@")
    changed = [line for line in difflib.unified_diff(before, after, n=0, lineterm="") if not line.startswith(marks)]
    for line in changed[:MOST_DIFFERENCES]:
        yield one_line(line)
    if len(changed) > MOST_DIFFERENCES:
        yield f"and {len(changed) - MOST_DIFFERENCES} more lines"
