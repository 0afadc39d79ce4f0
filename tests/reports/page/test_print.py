"""The page on paper: short, with what was opened, and within the sheet."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from reports.leaderboard.board import Request, make
from reports.page.leaderboard import to_html
from tests.reports import browser, factory


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "page.html"
    board = make(Request((str(factory.study(tmp_path)),), "supervised"))
    path.write_text(to_html(board), encoding="utf-8")
    return path


def test_on_paper_every_column_is_there_and_what_was_opened(chromium: Any, page: Path) -> None:
    with browser.opened(chromium, page) as seen:
        seen.page.emulate_media(media="print")
        assert seen.page.locator(".tools").first.is_hidden()
        wide = seen.page.evaluate(
            "[...document.querySelectorAll('.scroll')].every(e => getComputedStyle(e).overflowX === 'visible')"
        )
        assert wide
        of_rows, title = seen.page.locator(".origins details"), seen.page.get_by_text("Where every row comes from")
        assert not any(each.is_visible() for each in [*of_rows.all(), *title.all()])
        short = sheets(seen.page.pdf(prefer_css_page_size=True))
        assert short <= 4  # one row's details take half of a sheet
        seen.page.emulate_media(media="screen")
        of_rows.first.locator("summary").click()
        seen.page.emulate_media(media="print")
        assert [each.is_visible() for each in of_rows.all()] == [True, *[False] * (of_rows.count() - 1)]
        seen.page.emulate_media(media="screen")
        seen.page.get_by_role("button", name="Open all").first.click()
        seen.page.emulate_media(media="print")
        assert all(each.is_visible() for each in of_rows.all())
        assert sheets(seen.page.pdf(prefer_css_page_size=True)) > short


def sheets(pdf: bytes) -> int:
    return len(re.findall(rb"/Type\s*/Page\b", pdf))


@pytest.mark.parametrize("width", [390, 718, 1032])
def test_nothing_runs_off_the_screen_or_the_paper(chromium: Any, tmp_path: Path, width: int) -> None:
    """A phone's paper, A4 upright and A4 across, both less their margins."""
    path = tmp_path / "page.html"
    path.write_text(to_html(make(Request((str(factory.zoo(tmp_path)),), "supervised"))), encoding="utf-8")
    with browser.opened(chromium, path, viewport={"width": width, "height": 800}) as seen:
        for media in ("screen", "print"):
            seen.page.emulate_media(media=media)
            assert seen.page.evaluate("document.documentElement.scrollWidth") <= width
