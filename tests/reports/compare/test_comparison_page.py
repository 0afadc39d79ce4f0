"""`mimbench report compare` as a page, in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reports.compare.two_sides import side_by_side
from reports.page.comparison import to_html
from tests.reports import browser, factory
from tests.reports.factory import predict
from tests.reports.hostile import NAMES, hostile_runs


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pipelines with the same two encoders, one of which was trained for longer in the first."""
    root = tmp_path_factory.mktemp("comparison")
    for place, epochs, gain in (("old", 20, 0.0), ("new", 50, 1.5)):
        for seed in range(3):
            folder = factory.write(root / place, factory.transfer("simmim", seed, 90.0 + seed + gain))
            predict(folder, {"cat": 1, "owl": 4} if gain else {"cat": 3, "dog": 2, "owl": 2})
            factory.write(root / place, factory.transfer("scratch", seed, 80.0, recipe=factory.recipe(epochs=epochs)))
    (root / "new/torn").mkdir()
    (root / "new/torn/record.json").write_text("{")
    path = root / "comparison.html"
    path.write_text(to_html(side_by_side(str(root / "new"), str(root / "old"), [])), encoding="utf-8")
    return path


@pytest.fixture
def seen(chromium: Any, page: Path) -> Iterator[browser.Seen]:
    with browser.opened(chromium, page) as opened:
        yield opened


def table(seen: browser.Seen, label: str, encoder: str = "simmim") -> list[list[str]]:
    """Return the visible rows of a table in the part about an encoder; of the whole page where it has none."""
    part = seen.page.locator("main > section").filter(has_text=f"A {encoder} B {encoder}") if encoder else seen.page
    rows = part.get_by_role("region", name=label).locator("tbody tr:visible").all()
    return [[text.strip() for text in row.locator("bdi").all_inner_texts()] for row in rows]


def test_the_page_asks_nobody_and_complains_of_nothing(seen: browser.Seen, page: Path) -> None:
    assert seen.requests == [page.as_uri()]
    assert seen.complaints == []


def test_scores_differences_and_what_is_withheld(seen: browser.Seen) -> None:
    point = "+6.67 [+6.67, +6.67] (paired t, n = 3), no variance over seeds"
    first = ["top1", "83.33 ± 0.00 (n = 3)", "76.67 ± 0.00 (n = 3)", point, "-"]
    assert table(seen, "Scores of digits")[0] == first
    assert [row[3:] for row in table(seen, "Scores of digits", "scratch")] == [["not comparable", "-"]] * 2
    assert ["transfer recipe", "training.epochs", "50", "20"] in table(seen, "What differs", "scratch")
    assert "other recipe: training.epochs = 50, B 20" in seen.page.locator("main").inner_text()


def test_classes_are_sorted_and_filtered(seen: browser.Seen) -> None:
    name = "Classes of digits"
    assert [row[0] for row in table(seen, name)] == ["cat", "dog", "owl"]
    assert table(seen, name)[0] == ["cat", "10", "90.00", "70.00", "+20.00", "+20.00 to +20.00"]
    head = seen.page.get_by_role("button", name="A - B (points)")
    head.click()
    head.click()
    assert [row[0] for row in table(seen, name)] == ["owl", "cat", "dog"]
    seen.page.get_by_role("searchbox").fill("do")
    assert [row[0] for row in table(seen, name)] == ["dog"]
    assert seen.complaints == []


def test_charts_images_origins_and_left_out_are_there(seen: browser.Seen) -> None:
    titles = seen.page.locator("figure h3").all_inner_texts()
    assert titles == ["Difference of scores", "accuracy by class: the largest gains and losses"]
    assert table(seen, "Images of digits")[0][:3] == ["seed 0", "4", "2"]
    seen.page.locator("summary").first.click()
    assert "mimbench transfer digits --encoder" in seen.page.locator("details[open]").inner_text()
    assert "not a whole JSON object" in table(seen, "Records left out", "")[0][-1]


@pytest.mark.parametrize("width", [360, 1440])
def test_words_stay_whole_and_only_tables_scroll(chromium: Any, page: Path, width: int) -> None:
    with browser.opened(chromium, page, viewport={"width": width, "height": 800}) as seen:
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= width
        heights = seen.page.locator(".plain tbody th bdi").evaluate_all("all => all.map(e => e.offsetHeight)")
        assert 0 < max(heights) < 50  # two lines at the most: no word is broken letter by letter


def test_hostile_names_do_nothing(chromium: Any, tmp_path: Path) -> None:
    runs = str(hostile_runs(tmp_path))
    path = tmp_path / "comparison.html"
    path.write_text(to_html(side_by_side(NAMES[0], NAMES[9], [runs])), encoding="utf-8")
    with browser.opened(chromium, path, viewport={"width": 360, "height": 800}) as seen:
        assert seen.complaints == []
        assert seen.requests == [path.as_uri()]
        assert NAMES[9] in seen.page.locator(".lead").inner_text()
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= 360
