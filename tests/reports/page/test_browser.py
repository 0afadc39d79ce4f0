"""The page in a real browser: what clicks and typed words do, what is drawn, and that no network is used."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reports.leaderboard.board import Request, make
from reports.page.leaderboard import to_html
from tests.reports import browser, factory
from tests.reports.hostile import NAMES, hostile_runs


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("page")
    runs = (str(factory.study(root / "digits")), str(factory.zoo(root / "imagenet")))
    path = root / "leaderboard.html"
    path.write_text(to_html(make(Request(runs, "supervised"))), encoding="utf-8")
    return path


@pytest.fixture
def seen(chromium: Any, page: Path) -> Iterator[browser.Seen]:
    with browser.opened(chromium, page) as opened:
        yield opened


def column(seen: browser.Seen, task: str, place: int, body: int = 0) -> list[str]:
    """Return a column's cells as they stand in one group of a task's table, those that are visible."""
    section = seen.page.locator("section.task", has=seen.page.get_by_role("heading", name=task, exact=True))
    rows = section.locator("tbody").nth(body).locator("tr:not(.shared):visible")
    return [text.strip() for text in rows.locator(f"xpath=./*[{place + 1}]//bdi").all_inner_texts()]


def test_the_page_asks_nobody_and_complains_of_nothing(seen: browser.Seen, page: Path) -> None:
    assert seen.requests == [page.as_uri()]
    assert seen.complaints == []


def test_a_click_sorts_by_number_inside_groups_and_another_turns_it_round(seen: browser.Seen) -> None:
    def scores() -> list[float]:
        return [float(text.split()[0]) for text in column(seen, "imagenet1k", 1)]

    head = seen.page.locator("section.task").first.locator("thead th").nth(1)
    head.get_by_role("button").click()
    assert scores() == sorted(scores(), reverse=True)
    assert head.get_attribute("aria-sort") == "descending"
    head.get_by_role("button").click()
    assert scores() == [81.0, 81.1, 83.0, 83.4, 83.5, 84.0, 84.4, 85.4]
    assert head.get_attribute("aria-sort") == "ascending"
    assert len(column(seen, "imagenet1k", 1, body=1)) == 21  # what others reported stays in its own group
    assert seen.complaints == []


def test_a_click_sorts_by_words_where_there_are_no_numbers(seen: browser.Seen) -> None:
    head = seen.page.locator("section.task").first.locator("thead th").first.get_by_role("button")
    head.click()
    head.click()
    names = column(seen, "imagenet1k", 0)
    assert names == sorted(names)
    assert names[0] == "simmim (Swin-B)"


def test_sorting_works_from_the_keyboard(seen: browser.Seen) -> None:
    button = seen.page.locator("section.task").first.locator("thead th").nth(1).get_by_role("button")
    button.focus()
    seen.page.keyboard.press("Enter")
    seen.page.keyboard.press("Enter")
    assert column(seen, "imagenet1k", 1)[0].startswith("81.00")


def test_the_filter_shows_rows_with_all_words_and_counts_them(seen: browser.Seen) -> None:
    section = seen.page.locator("section.task").first
    section.get_by_role("searchbox").fill("SIMMIM swin-l")
    assert column(seen, "imagenet1k", 0) == ["simmim (Swin-L)"]
    assert section.locator("output").inner_text() == "3 of 29 rows"
    section.get_by_role("searchbox").fill("nothing like this")
    assert section.locator("tbody:visible").count() == 0
    section.get_by_role("searchbox").fill("")
    assert section.locator("output").inner_text() == "29 rows"
    assert len(column(seen, "imagenet1k", 0)) == 8


def test_one_filter_for_all_tables(seen: browser.Seen) -> None:
    seen.page.get_by_label("Filter all tables").fill("supervised")
    counts = seen.page.locator("section.task output").all_inner_texts()
    assert all(" of " in text for text in counts)
    assert len(counts) == 2


def test_facets_narrow_all_tables_down_and_stand_in_the_address(seen: browser.Seen) -> None:
    """Values of one facet are alternatives, and a row needs one of every facet; by keyboard, and in another window."""

    def counts(page: Any) -> list[str]:
        return list(page.locator("section.task output").all_inner_texts())

    def facet(title: str) -> Any:
        return seen.page.locator("details.facet", has=seen.page.locator("summary", has_text=title))

    def choose(title: str, *values: str) -> None:
        facet(title).locator("summary").focus()
        seen.page.keyboard.press("Enter")
        for value in values:
            facet(title).get_by_label(value).focus()
            seen.page.keyboard.press("Space")

    assert counts(seen.page) == ["29 rows", "4 rows"]
    choose("Architecture", "Swin-B (", "Swin-L (")
    assert {name.partition(" (Swin-")[0] for name in column(seen, "imagenet1k", 0)} == {"simmim", "supervised"}
    assert len(column(seen, "imagenet1k", 0)) == 4  # two methods in two sizes
    assert counts(seen.page)[1] == "0 of 4 rows"
    choose("Size", "50 to 100 M parameters (")
    assert sorted(column(seen, "imagenet1k", 0)) == ["simmim (Swin-B)", "supervised (Swin-B)"]
    assert facet("Architecture").locator("summary").inner_text() == "Architecture (2)"
    other = seen.page.context.new_page()
    other.goto(seen.page.url)
    assert counts(other) == counts(seen.page) == ["2 of 29 rows", "0 of 4 rows"]
    seen.page.locator("section.task").first.get_by_role("searchbox").fill("simmim")
    assert column(seen, "imagenet1k", 0) == ["simmim (Swin-B)"]
    assert seen.complaints == []


def test_an_address_shows_the_view_again(seen: browser.Seen) -> None:
    """Sorted, filtered and with other columns: the same in another window, by the address alone."""

    def view(page: Any) -> list[str]:
        section = page.locator("section.task").first
        return [text for text in section.locator("thead th:visible, tbody tr:visible th").all_inner_texts() if text]

    section = seen.page.locator("section.task").first
    at_first = view(seen.page)
    assert section.locator("thead th:visible").count() < section.locator("thead th").count()
    section.locator("thead th").nth(1).get_by_role("button").click()
    section.get_by_role("searchbox").fill("simmim")
    section.locator("summary", has_text="Columns").click()
    section.get_by_role("checkbox", name="Recipe").check()
    assert view(seen.page) != at_first
    assert "Recipe" in view(seen.page)
    other = seen.page.context.new_page()
    other.goto(seen.page.url)
    assert view(other) == view(seen.page)


@pytest.mark.parametrize(
    ("kind", "first", "row"),
    [
        ("CSV", '"Encoder","top1 last epoch (%)",', '"simmim (Swin-B)","'),
        ("Markdown", "| Encoder | top1 last epoch (%) |", "| simmim (Swin-B) | "),
        ("LaTeX", "\\begin{tabular}{l", "simmim (Swin-B) & "),
    ],
)
def test_what_is_shown_is_copied(seen: browser.Seen, kind: str, first: str, row: str) -> None:
    seen.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    section = seen.page.locator("section.task").first
    section.get_by_role("searchbox").fill("swin-b")
    section.get_by_role("button", name=kind).click()
    section.get_by_role("button", name="copied").wait_for()
    copied = seen.page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith(first)
    assert row in copied
    assert "Swin-L" not in copied
    assert seen.complaints == []


def test_numbers_with_thousands_apart_are_sorted_and_copied_as_numbers(chromium: Any, tmp_path: Path) -> None:
    for label, seconds in (("a", 999.5), ("b", 43110.25), ("c", 1200.5)):
        factory.write(tmp_path / "runs", factory.transfer(label, seconds=seconds))
    page = tmp_path / "leaderboard.html"
    page.write_text(to_html(make(Request((str(tmp_path / "runs"),)))), encoding="utf-8")
    with browser.opened(chromium, page) as seen:
        seen.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        section = seen.page.locator("section.task").first
        section.get_by_role("button", name="Time per run (s)").click()
        titles = [text.strip() for text in section.locator("thead th").all_inner_texts()]
        place = next(number for number, title in enumerate(titles) if title.startswith("Time per run"))
        assert column(seen, "digits", place) == ["43,110.2", "1,200.5", "999.5"]
        section.get_by_role("button", name="CSV").click()
        section.get_by_role("button", name="copied").wait_for()
        copied = seen.page.evaluate("navigator.clipboard.readText()")
        assert '"43110.2"' in copied
        section.get_by_role("button", name="Markdown").click()
        section.get_by_role("button", name="copied").nth(1).wait_for()
        assert "| 43,110.2 |" in seen.page.evaluate("navigator.clipboard.readText()")
        assert seen.complaints == []


def test_the_keyboard_skips_to_the_tables(seen: browser.Seen) -> None:
    seen.page.keyboard.press("Tab")
    assert seen.page.evaluate("document.activeElement.textContent") == "Skip to the tables"
    seen.page.keyboard.press("Enter")
    assert seen.page.evaluate("document.querySelector('#tables').getBoundingClientRect().top") < 5


@pytest.mark.parametrize("cell", ["td a", "td.words", "th a"])
def test_a_cell_leads_to_its_run(seen: browser.Seen, cell: str) -> None:
    section = seen.page.locator("section.task").nth(1)
    assert section.locator("details[open]").count() == 0
    section.locator(f"tbody tr.measured {cell}").first.click()
    details = section.locator("details[open]")
    assert details.count() == 1
    assert details.is_visible()
    provenance = dict(
        zip(details.locator("dt").all_inner_texts(), details.locator("dd").all_inner_texts(), strict=True)
    )
    assert provenance["Encoder sha256"] == factory.sha("simmim")
    assert provenance["Load report"] == "mimbench: 97 of 97 tensors, 100.00 % of the parameters"
    assert {"Recipe digest", "Data", "Commit", "Software", "Reproduce"} <= provenance.keys()


def test_charts_answer_their_questions(seen: browser.Seen) -> None:
    titles = seen.page.locator("figure h3").all_inner_texts()
    for title in (
        "top1 of the last epoch, recipe imagenet1k_swin_224",
        "top1 while fine-tuning, recipe imagenet1k_swin_224",
        "top1 against cost, recipe imagenet1k_swin_224",
        "Gain over supervised by model size",
        "Pretraining loss",
        "top1 against held-out masked loss of the pretraining, recipe imagenet1k_swin_224",
        "top1 against AvgDist of the pretraining (px), recipe imagenet1k_swin_224",
    ):
        assert title in titles
    assert seen.page.get_by_role("heading", name="Charts that these records cannot draw").count() == 0
    for chart in seen.page.locator("figure svg").all():
        box = chart.bounding_box()
        assert box["width"] > 200
        assert box["height"] > 80
    words = " ".join(seen.page.locator("figure svg text").all_text_contents())
    for label in (
        "parameters of the encoder (M)",
        "GPU hours of one run",
        "seconds of one run",
        "top1 (%)",
        "epoch of fine-tuning",
    ):
        assert label in words


def test_light_and_dark_have_contrast(chromium: Any, page: Path) -> None:
    """Every text stands at 4.5 to 1 or more against the page: WCAG 2.1, AA."""
    for scheme in ("light", "dark"):
        with browser.opened(chromium, page, color_scheme=scheme) as seen:
            for selector in (
                "h1",
                ".account",
                "thead button",
                ".reported td",
                "figcaption",
                ".shared",
                "a[href='#left-out']",
            ):
                ink, paper = seen.page.eval_on_selector(
                    selector, "e => [getComputedStyle(e).color, getComputedStyle(document.body).backgroundColor]"
                )
                assert contrast(ink, paper) >= 4.5, (scheme, selector)


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio of two `rgb(r, g, b)` colours as WCAG 2.1 defines it."""

    def luminance(colour: str) -> float:
        channels = [int(text) / 255 for text in colour[colour.index("(") + 1 : -1].split(",")[:3]]
        linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("width", [360, 390, 820, 1440])
def test_only_tables_scroll_sideways(chromium: Any, page: Path, width: int) -> None:
    with browser.opened(chromium, page, viewport={"width": width, "height": 800}) as seen:
        for summary in seen.page.locator(".tools summary:visible").all():
            summary.click()
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= width


def test_heads_of_a_wide_overview_break_between_words(chromium: Any, tmp_path: Path) -> None:
    """Where one of them took many lines, there was a gap between the caption and the others, which stand below."""
    for task in ("digits", "imagefolder", "imagenet1k", "cifar10", "cifar100"):
        for label in ("scratch", "simmim"):
            use = factory.TaskUse(name=task, version=1)
            factory.write(tmp_path / "runs", factory.transfer(label, task=use))
    path = tmp_path / "page.html"
    path.write_text(to_html(make(Request((str(tmp_path / "runs"),), "scratch"))), encoding="utf-8")
    with browser.opened(chromium, path, viewport={"width": 390, "height": 800}) as seen:
        lines = "e => Math.round(e.getBoundingClientRect().height / parseFloat(getComputedStyle(e).lineHeight))"
        heads = seen.page.locator(".overview thead bdi").all()
        assert {"Mean rank": 1, "Training, before + tasks": 2}.items() <= {
            head.text_content(): head.evaluate(lines) for head in heads
        }.items()


def test_hostile_names_are_seen_whole_and_do_nothing(chromium: Any, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text(to_html(make(Request((str(hostile_runs(tmp_path)),), NAMES[0]))), encoding="utf-8")
    with browser.opened(chromium, path, viewport={"width": 360, "height": 800}) as seen:
        assert seen.complaints == []
        assert seen.requests == [path.as_uri()]
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= 360
        for name in seen.page.locator("tbody th[scope=row] bdi").all():
            assert not name.evaluate("e => e.scrollWidth > e.clientWidth + 1")
            if name.evaluate("e => e.scrollHeight > e.clientHeight + 1"):  # cut after three lines
                assert name.get_attribute("title") == name.text_content()
