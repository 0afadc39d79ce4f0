"""Four formats of one table: the same numbers, harmless with any name, and a page that loads nothing from elsewhere."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt
from rich.cells import cell_len

from reports.leaderboard.board import Leaderboard, Request, make
from reports.page.leaderboard import to_html
from reports.tables.csv_json_parquet import to_csv
from reports.tables.table import tables_of
from reports.tables.text_markdown import to_markdown, to_text
from reports.text import one_line, spreadsheet
from tests.reports import factory
from tests.reports.hostile import NAMES as HOSTILE
from tests.reports.hostile import hostile_runs


class Page(HTMLParser):
    """What a browser would see: tags with attributes, and the text of every table row."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.in_cell = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        elif tag in {"td", "th"}:
            self.rows[-1].append("")
            self.in_cell = True

    def handle_endtag(self, tag: str) -> None:
        self.in_cell = self.in_cell and tag not in {"td", "th"}

    def handle_data(self, data: str) -> None:
        if self.in_cell:
            self.rows[-1][-1] += data.strip()


def board(runs: Path, baseline: str | None = "supervised") -> Leaderboard:
    return make(Request((str(runs),), baseline))


@pytest.fixture(scope="module")
def study(runs: Path) -> Leaderboard:
    return board(runs)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Leaderboard:
    return board(hostile_runs(tmp_path_factory.mktemp("hostile")), HOSTILE[0])


def visible(text: str) -> str:
    """Return `text` without the two invisible characters that isolate right-to-left names."""
    return text.replace("\u2068", "").replace("\u2069", "")


def rows_of_text(text: str) -> list[list[str]]:
    """Return the cells of every row of text's tables, of which the lines that go on are put together."""
    found: list[list[str]] = []
    spans: list[tuple[int, int]] = []
    for line in text.splitlines():
        if re.fullmatch(r"-+(   -+)+", line):
            spans = [match.span() for match in re.finditer("-+", line)]
        elif not line:
            spans = []
        elif spans:
            cells = [line[start:end].strip() for start, end in spans]
            if cells[0]:
                found.append(cells)
            else:
                found[-1] = [f"{before} {more}".strip() for before, more in zip(found[-1], cells, strict=True)]
    return found


def test_scores_by_hand_in_every_format(study: Leaderboard) -> None:
    # simmim 95.6, 96.4, 95.9: mean 95.9667, sample deviation 0.4041; less supervised: 0.9, 1.3, 1.1, deviation 0.2
    expected = [
        "simmim",
        "95.97 ± 0.40 (n = 3)",
        "96.47",
        "99.25 ± 0.00 (n = 3)",
        "+1.10 [+0.60, +1.60] (paired t, n = 3)",
    ]
    assert expected in rows_of_text(to_text(study))
    assert expected in [row[:5] for row in markdown_rows(to_markdown(study))]
    assert expected in [row[:5] for row in Page(to_html(study)).rows]
    line = next(line for line in csv.DictReader(io.StringIO(to_csv(study))) if line["encoder"] == "simmim")
    names = ["top1_last_mean", "top1_last_std", "top1_last_n", "top1_delta", "top1_delta_low", "top1_delta_high"]
    assert [line[name] for name in names] == ["95.97", "0.40", "3", "+1.10", "+0.60", "+1.60"]
    assert line["top1_delta_method"] == "paired t, n = 3"


def markdown_rows(text: str) -> list[list[str]]:
    return Page(MarkdownIt("commonmark", {"html": True}).enable("table").render(text)).rows


def test_every_cell_is_the_same_in_text_markdown_and_page(study: Leaderboard) -> None:
    (table,) = tables_of(study)
    text, marked, page = rows_of_text(to_text(study)), markdown_rows(to_markdown(study)), Page(to_html(study)).rows
    for entry, cells in zip(table.section.entries, table.texts.to_dict("records"), strict=True):
        scores = [cells[column.title] for column in table.in_blocks("scores")]
        settings = [cells[column.title] for column in table.in_blocks("settings")]
        assert scores in text
        assert set(settings) <= {cell for row in text if row[0] == entry.name for cell in row}
        assert [*scores, *settings] in marked
        assert [*scores, *settings] in page


def test_csv_parts_are_the_digits_people_see(study: Leaderboard) -> None:
    lines = list(csv.DictReader(io.StringIO(to_csv(study))))
    (table,) = tables_of(study)
    for line, cells in zip(lines, table.texts.to_dict("records"), strict=True):
        for column in table.columns:
            shown = set(re.findall(r"[-+]?\d+\.\d+", cells[column.title]))
            parts = set(re.findall(r"[-+]?\d+\.\d+", " ".join(line[name] for name, _ in column.fields)))
            assert shown == parts


def test_one_seed_is_shown_as_one(study: Leaderboard) -> None:
    (lonely,) = (row for row in rows_of_text(to_text(study)) if row[:2] == ["scratch", "91.40 (n = 1)"])
    assert not any("±" in cell for cell in lonely)
    assert "other recipe: digits_supervised, baseline digits_finetune" in lonely


def test_rows_are_ranked_only_among_their_like(study: Leaderboard) -> None:
    (section,) = study.sections
    names = [[(entry.name, entry.row.recipe.name) for entry in group.entries] for group in section.groups]
    assert names == [
        [("simmim", "digits_finetune"), ("supervised", "digits_finetune"), ("scratch", "digits_finetune")],
        [("scratch", "digits_supervised")],
    ]


def test_text_columns_are_aligned_and_no_name_is_cut(hostile: Leaderboard) -> None:
    text = to_text(hostile)
    for name in HOSTILE:  # a longer one goes on in the next line
        assert "".join(one_line(name).split()) in "".join(text.split())
    columns = {cell_len(line[: line.index("(n = 3)")]) for line in visible(text).splitlines() if "(n = 3)" in line}
    assert len(columns) == 1  # in both groups: their longest name is the same
    assert not any(ord(char) < 32 for char in text.replace("\n", ""))
    assert "\u202e" not in text


def test_text_pads_wide_characters_by_two_cells(tmp_path: Path) -> None:
    for name in ("日本", "abcd"):
        factory.write(tmp_path, factory.transfer(name, encoder=factory.encoder(name)))
    rows = [line for line in to_text(board(tmp_path, None)).splitlines() if line.startswith(("日本", "abcd"))]
    starts = {cell_len(line[: line.index("90.00")]) for line in rows if "90.00" in line}
    assert len(starts) == 1


def test_markdown_renders_every_name_as_it_is(hostile: Leaderboard) -> None:
    rendered = MarkdownIt("commonmark", {"html": True}).enable("table").render(to_markdown(hostile))
    page = Page(rendered)
    assert {tag for tag, _ in page.tags} <= {"h1", "h2", "p", "table", "thead", "tbody", "tr", "th", "td", "ul", "li"}
    firsts = {visible(row[0]) for row in page.rows if len(row) > 5}
    assert {one_line(name) for name in HOSTILE} <= firsts


def test_csv_cells_are_no_formulas(hostile: Leaderboard) -> None:
    table = list(csv.reader(io.StringIO(to_csv(hostile))))
    assert len({len(line) for line in table}) == 1
    for cell in (cell for line in table for cell in line):
        assert not cell.startswith(("=", "@", "\t", "\r"))
        assert not cell.startswith(("+", "-")) or float(cell) is not None
    names = {line[table[0].index("encoder")] for line in table}
    assert {"'=cmd('calc')", "'+1+1", "'@SUM(A1)"} <= names


def test_numbers_stay_numbers_in_a_spreadsheet() -> None:
    assert spreadsheet("-0.52") == "-0.52"
    assert spreadsheet("-1+cmd|' /C calc'!A0") == "'-1+cmd|' /C calc'!A0"


def test_page_runs_no_foreign_code_and_asks_nobody(hostile: Leaderboard) -> None:
    html = to_html(hostile)
    page = Page(html)
    allowed = (
        "html head meta link title style body header h1 h2 h3 p a main section div table thead tbody tr th td b bdi"
    )
    allowed += " fieldset legend"
    allowed += " button figure figcaption details summary span dl dt dd ul li script label input output small caption"
    svg = "svg g path defs clippath use rect text tspan desc style"
    assert {tag for tag, _ in page.tags} <= set(allowed.split()) | set(svg.split())
    assert [tag for tag, _ in page.tags].count("script") == 1
    for _, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "xlink:href", "action", "srcset"):
            assert (attributes.get(name) or "#").startswith(("#", "data:,"))
    assert "@import" not in html
    assert not re.search(r"url\((?!#)", html)
    for name in HOSTILE:
        assert one_line(name) in {cell for row in page.rows for cell in row}


def test_policy_allows_only_our_script(study: Leaderboard) -> None:
    html = to_html(study)
    script = html[html.index("<script>") + len("<script>") : html.index("</script>")]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = (a["content"] for tag, a in Page(html).tags if tag == "meta" and "http-equiv" in a)
    assert policy is not None
    assert "default-src 'none'" in policy
    assert f"script-src 'sha256-{digest}';" in policy


def test_charts_are_labelled_and_follow_the_page(study: Leaderboard) -> None:
    html = to_html(study)
    charts = re.findall(r"<svg.*?</svg>", html, flags=re.DOTALL)
    assert len(charts) == 6  # means and curves of two groups, the cost of one, one pretraining
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', html)) <= set(ids)
    for chart in charts:
        title, description = re.findall(r'<(?:title|desc) id="([^"]+)"', chart)
        assert f'role="img" aria-labelledby="{title} {description}"' in chart
        assert set(re.findall(r"#[0-9a-f]{6}\b", chart)) <= {"#000000", "#ffffff"}  # only clips and defaults
    assert ">top1, last epoch (%)</text>" in charts[0]
    assert ">epoch of fine-tuning</text>" in charts[1]
    assert ">training loss</text>" in charts[5]


def test_same_runs_make_the_same_page(runs: Path) -> None:
    assert to_html(board(runs)) == to_html(board(runs))
