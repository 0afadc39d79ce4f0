"""Writing a leaderboard as a static site, beside what an earlier publication left in the folder."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from benchmarks.errors import UserError, first_of
from benchmarks.files.atomic import write_atomically
from benchmarks.files.json_files import read_json
from reports.formats import rendered
from reports.leaderboard.board import Leaderboard
from reports.page.site import HOME, PAGE_NAME, changes, feed, names_of, pages_of, scores_of
from reports.tables.csv_json_parquet import typed
from reports.tables.findings import title_of
from reports.text import one_line

DATA = ("leaderboard.csv", "leaderboard.json")
"""The site's files of data; `mimbench report verify` compares them with the records."""
FEED = "feed.xml"
SITE = "site.json"
"""Which pages a publication wrote. The next one removes those that are no more; all other files stay."""


class _Earlier(NamedTuple):
    """What the publication before left."""

    pages: frozenset[str] = frozenset()
    scores: Mapping[str, str] = {}
    """Of its rows, by what they are called in the feed."""
    encoders: frozenset[str] = frozenset()


def write_site(board: Leaderboard, out: Path) -> int:
    """Write the site and return how many changes its feed has since the publication before.

    Raises UserError, before anything is written, for a folder with files in the place of the site's that no publication
    wrote, and for one with the site of other encoders.
    """
    pages = names_of(board).pages
    before = _earlier(out, pages)
    _require_alike(before.encoders, board, out)
    feed_before = (out / FEED).read_bytes() if (out / FEED).is_file() else None
    write_atomically(out / SITE, _listing({*pages, *before.pages}))
    for name, text in pages_of(board, DATA):
        write_atomically(out / name, text.encode())
    for name in before.pages.difference(pages):
        (out / name).unlink(missing_ok=True)
    write_atomically(out / SITE, _listing(pages))
    changed = changes(before.scores, scores_of(typed(board)), datetime.now(UTC).isoformat(timespec="seconds"))
    write_atomically(out / FEED, feed(title_of(board), changed, feed_before))
    for name in DATA:  # last: until they are written, the feed's changes are found again
        write_atomically(out / name, rendered(board, name.rpartition(".")[2]))
    return len(changed)


def _listing(pages: Iterable[str]) -> bytes:
    return json.dumps({"pages": sorted(pages)}).encode()


def _earlier(out: Path, pages: Iterable[str]) -> _Earlier:
    """Return what the publication before left. Raises UserError where another's file lies in the place of one."""
    listed = _listed(out)
    own = {*listed, *DATA, FEED, SITE} if listed else set()
    others = sorted(name for name in {*pages, *DATA, FEED, SITE} - own if os.path.lexists(out / name))
    if others:
        rule = f"a folder without {others[0]}, or one with the {SITE} of an earlier publication that lists it"
        remedy = "no publication wrote that file: name another folder, or move the file away"
        raise UserError.about("--out", str(out), rule, remedy)
    return _Earlier(listed, *_rows_before(out)) if listed else _Earlier()


def _listed(out: Path) -> frozenset[str]:
    """Return the pages that a publication listed as its own; empty where there is no such list, or somebody else's."""
    try:
        names = frozenset(read_json(out / SITE)["pages"])
    except (OSError, ValueError, LookupError, TypeError):
        return frozenset()
    ours = HOME in names and all(isinstance(name, str) and PAGE_NAME.fullmatch(name) for name in names)
    return names if ours else frozenset()


def _rows_before(out: Path) -> tuple[dict[str, str], frozenset[str]]:
    """Return the scores and the measured encoders of the publication before; empty where they cannot be read."""
    try:
        rows = [dict(row) for row in read_json(out / "leaderboard.json")["rows"]]
        return scores_of(rows), frozenset(str(row["encoder"]) for row in rows if row["kind"] == "measured")
    except (OSError, ValueError, LookupError, TypeError):
        return {}, frozenset()


def _require_alike(before: Collection[str], board: Leaderboard, out: Path) -> None:
    now = {one_line(entry.name) for section in board.sections for entry in section.entries}
    if before and now.isdisjoint(before):
        rule = "a folder of its own, or one with an earlier publication that has an encoder of this one"
        remedy = f"it has a site of {first_of(sorted(before), 3)}: name another folder, or remove that site"
        raise UserError.about("--out", str(out), rule, remedy)
