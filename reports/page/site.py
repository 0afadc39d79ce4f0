"""A static site of a leaderboard: an overview, a page for each task and each encoder, data files, a feed. No server."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from xml.etree import ElementTree

from reports.compare.score_difference import BASELINE
from reports.leaderboard.board import Leaderboard
from reports.leaderboard.section import Group, Section
from reports.page.leaderboard import anchor, to_html
from reports.page.template import filled
from reports.tables.findings import findings_of, title_of
from reports.tables.overview import overview_of

ATOM = "http://www.w3.org/2005/Atom"
MOST_ENTRIES = 100
"""A feed holds so many changes, the latest ones."""


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


def pages_of(board: Leaderboard, data: Sequence[str]) -> dict[str, str]:
    """Return the site's HTML pages by file name: HOME, one for each task, one for each encoder.

    `data` are the names of the files of data beside them.
    """
    tasks = {section.title: f"task-{slug(section.slug)}.html" for section in board.sections}
    labels = list(dict.fromkeys(entry.row.encoder.label for part in board.sections for entry in part.entries))
    encoders = {label: f"encoder-{slug(label)}.html" for label in labels}
    pages = {HOME: _index(board, data, tasks, encoders)}
    for section in board.sections:
        pages[tasks[section.title]] = to_html(replace(board, sections=(section,)), HOME)
    for label, name in encoders.items():
        pages[name] = to_html(replace(board, sections=tuple(_of_encoder(board.sections, label))), HOME)
    return pages


def slug(name: str) -> str:
    """Return a name as part of a file's name: what is not a letter or a digit of ASCII becomes its hash's start."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:60]
    return plain if plain and plain == name else f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:8]}".lstrip("-")


def _of_encoder(sections: Sequence[Section], label: str) -> Iterator[Section]:
    """Yield the tasks that an encoder was measured on, with its rows and those of the baseline alone."""
    for section in sections:
        kept = [_with_baseline(group, label) for group in section.groups]
        groups = tuple(group for group in kept if any(one.row.encoder.label == label for one in group.entries))
        if groups:
            yield replace(section, groups=groups, published=(), verdicts=())


def _with_baseline(group: Group, label: str) -> Group:
    kept = [one for one in group.entries if one.row.encoder.label == label or one.comparison == BASELINE]
    return replace(group, entries=tuple(kept))


def _index(board: Leaderboard, data: Sequence[str], tasks: Mapping[str, str], encoders: Mapping[str, str]) -> str:
    links = {
        id(entry): f"{tasks[section.title]}#{anchor(0, place, row)}"
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
        tasks=tasks,
        encoders=encoders,
    )


def changes(before: Sequence[Mapping[str, object]], after: Sequence[Mapping[str, object]], when: str) -> list[News]:
    """Return what rows, as the JSON file has them, were added or got another score since the publication before."""
    known = {_name(row): _score(row) for row in before}
    found = []
    for row in after:
        name, score = _name(row), _score(row)
        if name not in known:
            found.append(News(name, f"new: {score}", when))
        elif known[name] != score:
            found.append(News(name, f"was {known[name]}, is {score}", when))
    gone = known.keys() - {_name(row) for row in after}
    return [*found, *(News(name, "no longer there", when) for name in sorted(gone))]


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
