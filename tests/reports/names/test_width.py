"""No line of any text of a report is wider than 120 cells, whatever names others gave; and nothing of them is lost."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Any

import pytest

import mimbench
from reports.leaderboard.board import Request, make
from reports.page.leaderboard import to_html
from reports.text import WIDTH, broken, within_width
from tests.reports import browser, factory
from tests.reports.hostile import LONGEST


def width(line: str) -> int:
    """Return the cells of a terminal that a line takes, by the Unicode database."""
    wide = sum(unicodedata.east_asian_width(char) in "WF" for char in line)
    nothing = sum(unicodedata.category(char) in ("Mn", "Me", "Cf") for char in line)
    return len(line) + wide - nothing


def widths(text: str) -> list[int]:
    return [width(line) for line in text.splitlines()]


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Return runs of two encoders and a failed one, whose names, classes, errors and recipes have no space to break."""
    for number, name in enumerate(LONGEST):
        for seed in range(2):
            for label in (name, f"other-{name}"):
                recipe = factory.recipe(name[:600], epochs=20 + number)
                use = factory.encoder(label, method=name, reference=name)
                place = f"{number}-{seed}-{label.startswith('other')}"
                folder = factory.write(tmp_path, factory.transfer(label, seed, encoder=use, recipe=recipe), name=place)
                lines = [f"test/{n}.png,{name},{name if n > seed else 'x'}" for n in range(10)]
                factory.predict(folder, {})
                (folder / "predictions.csv").write_text("\n".join(["path,label,predicted", *lines]))
                edited = (folder / "record.json").read_text().replace('"last": 100.0', f'"last": {90.0 - 10 * seed}')
                (folder / "record.json").write_text(edited)
                log = (folder / "metrics.jsonl").read_text().replace('"top1": 100.0', f'"top1": {90.0 - 10 * seed}')
                (folder / "metrics.jsonl").write_text(log)
        failed = factory.transfer(name, 9, status="failed", error=name)
        factory.write(tmp_path, failed, name=f"failed-{number}")
    return tmp_path


def test_all_texts_are_at_most_so_wide(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    asked = [str(runs), "--baseline", LONGEST[0], "--formats", "txt,json", "--out", str(out)]
    assert mimbench.main(["report", "leaderboard", *asked]) == 0
    first, second = LONGEST[3], f"other-{LONGEST[3]}"
    assert mimbench.main(["report", "compare", first, second, "--in", str(runs), "--out", str(out)]) == 0
    (out / "leaderboard.txt").write_text((out / "leaderboard.txt").read_text().replace("=cmd|", "=CMD|", 1))
    assert mimbench.main(["report", "verify", str(out)]) == 1
    assert mimbench.main(["report", "verdict", str(runs)]) == 0
    said = capsys.readouterr().out
    for text in (said, *(path.read_text() for path in out.glob("*.txt"))):
        assert max(widths(text)) <= 120, max(text.splitlines(), key=width)[:300]
    assert "".join(said.split()).count(LONGEST[3].split()[0][:40]) > 4
    comparison = (out / "comparison.txt").read_text()
    assert "by class (" in comparison
    assert "by image (" in comparison


@pytest.mark.parametrize("name", [*LONGEST, "two words", "", " ", "a" * WIDTH, "a" * (WIDTH + 1)])
def test_breaking_loses_nothing_but_spaces(name: str) -> None:
    for text in (name, f"    {name}", f"left out: {name}: damaged", f"{name} {name}"):
        found = within_width(text)
        assert "".join(found.split()) == "".join(text.split())
        assert max(widths(found), default=0) <= WIDTH
        assert max(map(width, broken(text, 7)), default=0) <= 7


def test_a_long_name_is_cut_and_a_tooltip_has_all_of_it(chromium: Any, tmp_path: Path) -> None:
    name = "a-long-name-" * 30
    factory.write(tmp_path / "runs", factory.transfer(name, 0, 90.0))
    path = tmp_path / "page.html"
    path.write_text(to_html(make(Request((str(tmp_path / "runs"),)))), encoding="utf-8")
    with browser.opened(chromium, path) as seen:
        for table in (".overview", ".board"):
            cell = seen.page.locator(f"{table} tbody th[scope=row] bdi")
            assert (cell.get_attribute("title"), cell.text_content()) == (name, name)
            assert cell.evaluate("e => e.clientHeight < e.scrollHeight")
