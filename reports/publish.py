"""Writing a leaderboard as a static site, beside what an earlier publication left in the folder."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.errors import UserError
from benchmarks.files.atomic import write_atomically
from benchmarks.files.json_files import read_json
from reports.formats import rendered
from reports.leaderboard.board import Leaderboard
from reports.page.site import HOME, PAGE_NAME, changes, feed, names_of, pages_of, scores_of
from reports.tables.csv_json_parquet import typed
from reports.tables.findings import title_of

DATA = ("leaderboard.csv", "leaderboard.json")
"""The site's files of data; `mimbench report verify` compares them with the records."""
FEED = "feed.xml"
SITE = "site.json"
"""Which pages a publication wrote. The next one removes those that are no more; all other files stay."""


def write_site(board: Leaderboard, out: Path) -> int:
    """Write the site and return how many changes its feed has since the publication before.

    Raises UserError for a folder with pages that no publication wrote.
    """
    before, scores = _pages_before(out), _scores_before(out)
    pages = names_of(board).pages
    earlier = (out / FEED).read_bytes() if (out / FEED).is_file() else None
    write_atomically(out / SITE, json.dumps({"pages": sorted({*pages, *before})}).encode())
    for name, text in pages_of(board, DATA):
        write_atomically(out / name, text.encode())
    for name in before.difference(pages):
        (out / name).unlink(missing_ok=True)
    write_atomically(out / SITE, json.dumps({"pages": sorted(pages)}).encode())
    changed = changes(scores, scores_of(typed(board)), datetime.now(UTC).isoformat(timespec="seconds"))
    write_atomically(out / FEED, feed(title_of(board), changed, earlier))
    for name in DATA:  # last: until they are written, the feed's changes are found again
        write_atomically(out / name, rendered(board, name.rpartition(".")[2]))
    return len(changed)


def _pages_before(out: Path) -> set[str]:
    """Return the names of the pages that the publication before wrote; only names as a publication gives them count."""
    try:
        names = read_json(out / SITE)["pages"]
        return {name for name in names if PAGE_NAME.fullmatch(name)}
    except (OSError, ValueError, LookupError, TypeError):
        pass
    if (out / HOME).exists():
        rule = f"a folder of its own, or one with the {SITE} of an earlier publication"
        raise UserError.about("--out", str(out), rule, f"{out / HOME} is somebody else's: name another folder")
    return set()


def _scores_before(out: Path) -> dict[str, str]:
    """Return the scores of the publication before, by the names of its rows; empty where it cannot be read."""
    try:
        return scores_of(dict(row) for row in read_json(out / "leaderboard.json")["rows"])
    except (OSError, ValueError, LookupError, TypeError):
        return {}
