"""Whatever text a record has, in whatever field, every format of a report shows it and none runs it."""

from __future__ import annotations

import csv
import io
import json
import re
import unicodedata
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from markdown_it import MarkdownIt
from pydantic import ValidationError

import mimbench
from benchmarks.history import TrainingData, TrainingStage
from benchmarks.runs.identity import recorded_transfer_id
from benchmarks.runs.migrations import parse_record
from benchmarks.runs.record import MetricValue, TaskUse
from reports.page.site import PAGE_NAME
from tests.reports import factory
from tests.reports.hostile import EVIL
from tests.reports.leaderboard.test_suites import PARTS, write_suite

KEPT = ("status", "kind", "task.name", "started_at", "finished_at", "device", "metrics", "init_stage", "started_in")
"""What decides whether a record is reported at all, and how."""


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from leaves(inner, (*path, name))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from leaves(inner, (*path, number))
    elif isinstance(value, str):
        yield path


def put(document: Any, path: tuple[Any, ...], text: str) -> Any:
    """Return a document with a text in one place, as far as it is a record then, else as it was."""
    changed = json.loads(json.dumps(document))
    inner = changed
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = text
    try:
        parse_record(json.dumps(changed).encode())
    except (ValidationError, ValueError):
        return document
    return changed


def spoilt(folder: Path, text: str) -> int:
    """Put a text into every field of a run's record that may hold any, and into its classes; return in how many."""
    document = json.loads((folder / "record.json").read_text())
    places = [path for path in leaves(document) if not any(".".join(map(str, path)).endswith(name) for name in KEPT)]
    for path in places:
        document = put(document, path, text)
    record = parse_record(json.dumps(document).encode())
    record = record.model_copy(update={"run_id": recorded_transfer_id(record)})
    (folder / "record.json").write_text(record.model_dump_json(), encoding="utf-8")
    rows = [[f"test/{text}/{number}.png", text, text if number < 9 else f"no {text}"] for number in range(10)]
    with (folder / "predictions.csv").open("w", newline="", encoding="utf-8", errors="surrogatepass") as file:
        csv.writer(file).writerows([["path", "label", "predicted"], *rows])
    return len([path for path in places if path[0] != "run_id"])


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return runs of digits and of a whole suite, of encoders whose every text is one of EVIL."""
    root = tmp_path_factory.mktemp("evil")
    for number, text in enumerate(EVIL):
        for seed in range(2):
            seen = TrainingData(name="x", images=3, fingerprint="x")
            history = (TrainingStage(method="x", data=seen, epochs=3.0),)
            use = factory.encoder("supervised", history=history, epochs=3)
            report = factory.loaded(notes=(text,), parity=None, implausible=(text,))
            record = factory.transfer("supervised", seed, 90.0, encoder=use, load_report=report, feature="output: x")
            folder = factory.write(root, record, name=f"{number}-{seed}")
            assert spoilt(folder, text) > 25
        failed = factory.transfer("simmim", 7, status="failed", error=text)
        factory.write(root, failed, name=f"failed-{number}")
    write_suite(root, PARTS)
    for folder in sorted(root.glob("*knn*")):
        document = json.loads((folder / "record.json").read_text())
        if document["encoder"]["label"] == "simmim":
            document["encoder"]["label"] = EVIL[0]
            (folder / "record.json").write_text(json.dumps(document))
    more = {"top1": MetricValue(last=50.0), EVIL[0]: MetricValue(last=1.0), "a_top1": MetricValue(last=2.0)}
    factory.write(root, factory.transfer("simmim", 5, metrics=more, task=TaskUse(name="digits", version=1)))
    return root


@pytest.fixture(scope="module")
def out(runs: Path) -> Path:
    """Return the folder of every file that the verbs write of these runs."""
    found = runs.parent / "written"
    asked = [str(runs), "--baseline", EVIL[0]]
    assert mimbench.main(["report", "leaderboard", *asked, "--out", str(found)]) == 0
    assert mimbench.main(["report", "publish", *asked, "--out", str(found / "site")]) == 0
    compared = [EVIL[0], EVIL[1], "--in", str(runs), "--out", str(found)]
    assert mimbench.main(["report", "compare", *compared]) == 0
    return found


class Tags(HTMLParser):
    """The elements of a page, and the addresses in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.attributes += attrs


def test_pages_have_our_elements_alone(out: Path) -> None:
    pages = list(out.rglob("*.html"))
    assert len(pages) > len(EVIL)
    for page in pages:
        found = Tags(page.read_text(encoding="utf-8"))
        assert found.names.count("script") <= 1 + found.names.count("template")
        assert not {"iframe", "object", "embed", "base", "form"} & set(found.names)
        assert not [name for name, _ in found.attributes if name.startswith("on")]
        for name, address in found.attributes:
            if name in ("href", "src"):
                assert re.match(r"https?://|#|data:(,|image/)|[\w.-]+\.(html|json|csv|xml)", address or ""), address


def test_a_site_s_files_are_named_by_harmless_letters(out: Path) -> None:
    for page in (out / "site").iterdir():
        assert PAGE_NAME.fullmatch(page.name) or page.name in {
            *("feed.xml", "leaderboard.csv", "leaderboard.json", "site.json"),
        }
        assert len(page.name) <= 100
    ElementTree.fromstring((out / "site/feed.xml").read_bytes())


def test_texts_have_no_character_that_acts(out: Path, capsys: pytest.CaptureFixture[str], runs: Path) -> None:
    assert mimbench.main(["report", "verify", str(out)]) == 0
    assert mimbench.main(["report", "verdict", str(runs)]) == 0
    texts = [
        path.read_text(encoding="utf-8") for path in out.rglob("*") if path.suffix[1:] in ("txt", "md", "csv", "tex")
    ]
    assert len(texts) >= 5
    isolates = {"\u2068", "\u2069"}
    for text in (*texts, capsys.readouterr().out):
        acting = {char for char in text if unicodedata.category(char) in ("Cc", "Cf", "Cs") and char not in "\n\r"}
        assert acting <= {*isolates, "\u200c", "\u200d"}


def test_cells_are_no_formulas(out: Path) -> None:
    table = list(csv.reader(io.StringIO((out / "leaderboard.csv").read_text(encoding="utf-8"), newline="")))
    assert len({len(row) for row in table}) == 1
    for cell in (cell for row in table for cell in row):
        assert not re.match(r"[=@\t\r]|[-+](?!\d+(\.\d+)?$)", cell), cell


def test_markdown_has_no_element_and_no_link_of_theirs(out: Path) -> None:
    parser = MarkdownIt("commonmark", {"html": True}).enable("table")
    text = (out / "leaderboard.md").read_text(encoding="utf-8")
    kinds = {child.type for token in parser.parse(text) for child in [token, *(token.children or [])]}
    assert not {"html_inline", "html_block", "image", "fence", "code_block", "code_inline"} & kinds
    columns = {line.count(" | ") for line in re.findall(r"^\| Encoder .*\n.*\n((?:\|.*\n)+)", text, re.MULTILINE)}
    assert columns


def test_latex_has_no_command_of_theirs(out: Path) -> None:
    text = (out / "leaderboard.tex").read_text(encoding="utf-8")
    assert not re.search(r"\\(input|write18|immediate|catcode|def|openout|include)\b", text)


def test_json_has_every_name(out: Path) -> None:
    names = {row["encoder"] for row in json.loads((out / "leaderboard.json").read_text(encoding="utf-8"))["rows"]}
    for text in EVIL:
        begin = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)[:12]
        assert any(name.startswith(begin) for name in names if name), text
