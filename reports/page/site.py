"""A static site of a leaderboard: an overview, a page for each task and each encoder, data files, a feed. No server."""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple
from xml.etree import ElementTree

from benchmarks.runs.find import LeftOut
from reports.compare.score_difference import BASELINE
from reports.leaderboard.board import Leaderboard
from reports.leaderboard.lines import Measured
from reports.leaderboard.section import Group, Section
from reports.page.leaderboard import anchor, to_html
from reports.page.template import filled
from reports.tables.findings import findings_of, title_of
from reports.tables.overview import overview_of

ATOM = "http://www.w3.org/2005/Atom"
MOST_ENTRIES = 100
"""A feed holds so many changes, the latest ones."""
MOST_DRAWN = 50
"""Of more encoders their own pages have no charts, which take most of the time; the tasks' pages have them."""
MOST_PAGES = 1000
"""So many encoders have a page of their own: a hundred kilobytes each, and hosts of sites take a gigabyte."""


@dataclass(frozen=True)
class News:
    """What a publication added to the one before: a row, or a row's other score."""

    row: str
    words: str
    when: str
    """In ISO 8601."""

    @property
    def id(self) -> str:
        return f"urn:sha256:{hashlib.sha256(f'{self.row} {self.words} {self.when}'.encode()).hexdigest()}"


HOME = "index.html"
PAGE_NAME = re.compile(r"index\.html|(task|encoder)-[A-Za-z0-9._-]+\.html")


class Names(NamedTuple):
    """The files of a site's pages: of tasks by the titles of their tables, of encoders by their labels."""

    tasks: Mapping[str, str]
    encoders: Mapping[str, str]
    more: int
    """How many further encoders stand on the pages of tasks alone."""

    @property
    def pages(self) -> list[str]:
        return [HOME, *self.tasks.values(), *self.encoders.values()]


def names_of(board: Leaderboard) -> Names:
    """Return how the pages of a leaderboard's site are called.

    Where there are more than MOST_PAGES encoders, those of the overview and the first ones of the tables have pages.
    """
    labels = dict.fromkeys(entry.row.encoder.label for part in board.sections for entry in part.entries)
    first = dict.fromkeys([*(one.label for one in overview_of(board).encoders), *labels])
    kept = set(list(first)[:MOST_PAGES])
    shown = [label for label in labels if label in kept]
    titles = {section.title: section.slug for section in board.sections}
    pages = _files("encoder", dict(zip(shown, shown, strict=True)))
    return Names(_files("task", titles), pages, len(labels) - len(shown))


def _files(kind: str, names: Mapping[str, str]) -> dict[str, str]:
    """Return a file for each name; no two share one, even where only case differs, or a name looks like a slug."""
    taken: Counter[str] = Counter(slug(name).casefold() for name in names.values())
    return {key: f"{kind}-{slug(name, hashed=taken[slug(name).casefold()] > 1)}.html" for key, name in names.items()}


def pages_of(board: Leaderboard, data: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the site's HTML pages with the names of their files: HOME, one for each task, one for each encoder.

    `data` are the names of the files of data beside them.
    """
    names = names_of(board)
    yield HOME, _index(board, data, names)
    for section in board.sections:
        yield names.tasks[section.title], to_html(replace(board, sections=(section,)), HOME)
    for label, part in _by_encoder(board, names.encoders):
        yield names.encoders[label], to_html(part, HOME, charts=len(names.encoders) <= MOST_DRAWN)


def slug(name: str, *, hashed: bool = False) -> str:
    """Return a name as part of a file's name; on request, or where that is not the name, with its hash's start."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:60]
    if plain and plain == name and not hashed:
        return plain
    return f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:8]}".lstrip("-")


def _by_encoder(board: Leaderboard, labels: Collection[str]) -> Iterator[tuple[str, Leaderboard]]:
    """Yield each of the labels with what a leaderboard says of it.

    That is its tasks, with its rows and those of the baseline alone, their pretrainings, and what was left out under
    this label.
    """
    found: dict[str, list[Section]] = defaultdict(list)
    for section in board.sections:
        own: dict[str, list[Group]] = defaultdict(list)
        for group in section.groups:
            for label, kept in _with_baseline(group, labels).items():
                own[label].append(replace(group, entries=tuple(kept)))
        for label, groups in own.items():
            found[label].append(replace(section, groups=tuple(groups), published=(), verdicts=()))
    left_out: dict[str | None, list[LeftOut]] = defaultdict(list)
    for left in board.left_out:
        left_out[left.label].append(left)
    pretrainings = {run.record.run_id: run for run in reversed(board.pretrainings)}
    read = {id(run) for run in board.collected.pretrainings}
    rows = {id(row) for row in board.collected.rows}
    for label, sections in found.items():
        entries = [entry for section in sections for entry in section.entries]
        ids = dict.fromkeys(entry.pretraining.run_id for entry in entries if entry.pretraining is not None)
        made_by = tuple(pretrainings[run_id] for run_id in ids)
        collected = replace(
            board.collected,
            rows=tuple(entry.row for entry in entries if id(entry.row) in rows),
            pretrainings=tuple(run for run in made_by if id(run) in read),
            left_out=tuple(left_out[label]),
        )
        yield label, replace(board, collected=collected, sections=tuple(sections), pretrainings=made_by)


def _with_baseline(group: Group, labels: Collection[str]) -> dict[str, list[Measured]]:
    """Return, by label, an encoder's entries of a group and the baseline's, in the order of the group."""
    places: dict[str, list[int]] = defaultdict(list)
    baseline = []
    for place, entry in enumerate(group.entries):
        if entry.row.encoder.label in labels:
            places[entry.row.encoder.label].append(place)
        if entry.comparison == BASELINE:
            baseline.append(place)
    return {label: [group.entries[place] for place in sorted({*own, *baseline})] for label, own in places.items()}


def _index(board: Leaderboard, data: Sequence[str], names: Names) -> str:
    links = {
        id(entry): f"{names.tasks[section.title]}#{anchor(0, place, row)}"
        for section in board.sections
        for place, group in enumerate(section.groups)
        for row, entry in enumerate(group.entries)
    }
    return filled(
        "site.html.j2",
        board=board,
        title=title_of(board),
        findings=findings_of(board),
        overview=overview_of(board),
        links=links,
        data=data,
        tasks=names.tasks,
        encoders=names.encoders,
        more=names.more,
    )


def scores_of(rows: Iterable[Mapping[str, object]]) -> dict[str, str]:
    """Return the scores of rows, as the JSON file has them, by what the rows are called in a feed."""
    return {_name(row): _score(row) for row in rows}


def changes(before: Mapping[str, str], after: Mapping[str, str], when: str) -> list[News]:
    """Return what rows were added, got another score or went since the publication before, both as of `scores_of`."""
    found = []
    for name, score in after.items():
        if name not in before:
            found.append(News(name, f"new: {score}", when))
        elif before[name] != score:
            found.append(News(name, f"was {before[name]}, is {score}", when))
    return [*found, *(News(name, "no longer there", when) for name in sorted(before.keys() - after.keys()))]


def _name(row: Mapping[str, object]) -> str:
    weights = str(row.get("encoder_sha256") or "")[:8]
    digest = str(row.get("recipe_digest") or "")[:8]
    return f"{row['encoder']} {weights} on {row['task']} by {row['recipe']} {digest}".replace("  ", " ")


def _score(row: Mapping[str, object]) -> str:
    means = {name: row[name] for name in row if name.endswith("_last_mean") and row[name] is not None}
    return ", ".join(f"{name.removesuffix('_last_mean')} {value}" for name, value in means.items())


def feed(title: str, found: Sequence[News], earlier: bytes | None) -> bytes:
    """Return an Atom feed of changes, the latest first, those of an earlier feed of ours after them.

    An earlier feed that cannot be read counts as none.
    """
    ElementTree.register_namespace("", ATOM)
    root = ElementTree.Element(f"{{{ATOM}}}feed")
    entries = [_entry(change) for change in found] + _entries(earlier)
    updated = entries[0].findtext(f"{{{ATOM}}}updated") if entries else None
    for name, text in {"title": title, "id": "urn:mimbench:leaderboard", "updated": updated or EPOCH}.items():
        ElementTree.SubElement(root, f"{{{ATOM}}}{name}").text = text
    author = ElementTree.SubElement(root, f"{{{ATOM}}}author")
    ElementTree.SubElement(author, f"{{{ATOM}}}name").text = "mimbench"
    root.extend(entries[:MOST_ENTRIES])
    return bytes(ElementTree.tostring(root, encoding="utf-8", xml_declaration=True))


EPOCH = datetime(1970, 1, 1).isoformat() + "Z"


def _entry(change: News) -> ElementTree.Element:
    entry = ElementTree.Element(f"{{{ATOM}}}entry")
    texts = {"title": f"{change.row}: {change.words}", "id": change.id, "updated": change.when}
    for name, text in texts.items():
        ElementTree.SubElement(entry, f"{{{ATOM}}}{name}").text = _of_xml(text)
    ElementTree.SubElement(entry, f"{{{ATOM}}}content", type="text").text = _of_xml(change.words)
    return entry


def _of_xml(text: str) -> str:
    """Return text without the characters that XML cannot hold."""
    return re.sub("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\N{REPLACEMENT CHARACTER}", text)


def _entries(earlier: bytes | None) -> list[ElementTree.Element]:
    if earlier is None or b"<!" in earlier:  # ours has no document type, which could hold entities
        return []
    try:
        return list(ElementTree.fromstring(earlier).iter(f"{{{ATOM}}}entry"))
    except ElementTree.ParseError:
        return []
