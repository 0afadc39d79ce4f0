"""A published site: its links lead somewhere, its feed says what changed, and nobody else's file is touched."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

import mimbench
from reports import publish as publishing
from reports.page import site as site_pages
from reports.page.site import ATOM, slug
from tests.reports import browser, factory
from tests.reports.hostile import hostile_runs

Publish = Callable[..., int]


@pytest.fixture
def publish(tmp_path: Path) -> Publish:
    factory.study(tmp_path / "runs")

    def run(*arguments: str) -> int:
        asked = [str(tmp_path / "runs"), "--baseline", "supervised", "--out", str(tmp_path / "site"), *arguments]
        return mimbench.main(["report", "publish", *asked])

    return run


def titles(site: Path) -> list[str]:
    feed = ElementTree.fromstring((site / "feed.xml").read_bytes())
    return [str(entry.findtext(f"{{{ATOM}}}title")) for entry in feed.iter(f"{{{ATOM}}}entry")]


def test_every_link_leads_to_a_file_and_a_place_in_it(publish: Publish, tmp_path: Path) -> None:
    assert publish() == 0
    site = tmp_path / "site"
    assert {path.name for path in site.glob("*.html")} == {
        "index.html",
        "task-digits.html",
        *(f"encoder-{name}.html" for name in ("simmim", "supervised", "scratch")),
    }
    for page in site.glob("*.html"):
        for link in re.findall(r'(?:href|src)="([^"]*)"', page.read_text(encoding="utf-8")):
            name, _, place = unescape(link).partition("#")
            target = site / name if name else page
            assert link == "data:," or target.is_file(), link
            assert not place or f'id="{place}"' in target.read_text(encoding="utf-8"), link


def test_the_site_agrees_with_its_records(publish: Publish, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    publish()
    assert mimbench.main(["report", "verify", str(tmp_path / "site")]) == 0
    assert capsys.readouterr().out.count("agrees: ") == 2


def test_an_encoder_s_page_has_its_rows_and_the_baseline_s(publish: Publish, tmp_path: Path) -> None:
    publish()
    page = (tmp_path / "site/encoder-simmim.html").read_text(encoding="utf-8")
    rows = re.findall(r'<th scope="row"><a href="#[^"]*"><bdi>([^<]*)', page)
    assert rows == ["simmim", "supervised"]
    assert "+1.10 [+0.60, +1.60]" in page


def test_the_feed_says_what_is_new_and_what_changed(
    publish: Publish, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    publish()
    site = tmp_path / "site"
    first = titles(site)
    assert len(first) == 4
    assert any(re.match(r"simmim \w{8} on digits by digits_finetune \w{8}: new: top1 95\.97, ", one) for one in first)
    capsys.readouterr()
    publish()
    assert "(0 changes in feed.xml)" in capsys.readouterr().out
    assert titles(site) == first
    factory.write(tmp_path / "runs", factory.transfer("simmim", 3, 99.1))
    publish()
    latest, *before = titles(site)
    assert re.search(r": was top1 95\.97, top5 99\.25, is top1 96\.75, top5 99\.25$", latest)
    assert before == first


def test_pages_of_what_is_no_more_go_and_all_other_files_stay(publish: Publish, tmp_path: Path) -> None:
    publish()
    site = tmp_path / "site"
    (site / "task-of-mine.html").write_text("mine")
    for record in (tmp_path / "runs").rglob("record.json"):
        if '"label": "scratch"' in record.read_text():
            record.unlink()
            record.with_name("metrics.jsonl").unlink(missing_ok=True)
    assert publish() == 0
    assert not (site / "encoder-scratch.html").exists()
    assert (site / "task-of-mine.html").read_text() == "mine"
    assert any(title.endswith("no longer there") for title in titles(site))


@pytest.mark.parametrize("name", ["index.html", "task-digits.html", "leaderboard.json", "feed.xml", "site.json"])
def test_a_file_that_no_publication_wrote_is_never_written_over(
    publish: Publish, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    site = tmp_path / "site"
    site.mkdir()
    (site / name).write_text("mine")
    assert publish() == 2
    assert f"a folder without {name}, or one with the site.json of an earlier publication" in capsys.readouterr().err
    assert [(path.name, path.read_text()) for path in site.iterdir()] == [(name, "mine")]


def test_a_page_that_another_put_into_a_site_stays(
    publish: Publish, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The site gets an encoder whose page would have the name of a file that somebody else laid there."""
    publish()
    (tmp_path / "site/encoder-other.html").write_text("mine")
    assert publish() == 0
    before = {path: path.read_bytes() for path in (tmp_path / "site").iterdir()}
    factory.write(tmp_path / "runs", factory.transfer("other"))
    assert publish() == 2
    assert "a folder without encoder-other.html" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in (tmp_path / "site").iterdir()} == before


def test_the_site_of_other_encoders_is_not_replaced(
    publish: Publish, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    publish()
    before = {path: path.read_bytes() for path in (tmp_path / "site").iterdir()}
    factory.write(tmp_path / "others", factory.transfer("theirs"))
    asked = ["report", "publish", str(tmp_path / "others"), "--out", str(tmp_path / "site")]
    capsys.readouterr()
    assert mimbench.main(asked) == 2
    assert "it has a site of scratch, simmim, supervised: name another folder" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in (tmp_path / "site").iterdir()} == before
    factory.write(tmp_path / "others", factory.transfer("simmim", 1))
    assert mimbench.main(asked) == 0


def test_a_publication_that_was_interrupted_is_finished_by_the_next(
    publish: Publish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "title_of", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        publish()
    assert not (tmp_path / "site/leaderboard.json").exists()
    monkeypatch.undo()
    assert publish() == 0
    assert len(titles(tmp_path / "site")) == 4


@pytest.mark.parametrize(
    "listed",
    ['{"pages": ["index.html", "../runs", "/etc/passwd"]}', '{"pages": ["index.html", 7]}', '{"pages": 3}', "["],
)
def test_a_list_of_pages_by_somebody_else_removes_nothing(publish: Publish, tmp_path: Path, listed: str) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site/site.json").write_text(listed)
    assert publish() == 2
    assert [(path.name, path.read_text()) for path in (tmp_path / "site").iterdir()] == [("site.json", listed)]
    assert (tmp_path / "runs").is_dir()


def test_without_a_usable_run_nothing_is_written(tmp_path: Path) -> None:
    factory.write(tmp_path / "runs", factory.transfer("simmim", status="failed", error="x"))
    out = tmp_path / "site"
    assert mimbench.main(["report", "publish", str(tmp_path / "runs"), "--out", str(out)]) == 1
    assert not out.exists()


@pytest.mark.parametrize("name", ["a/b", "..", "", "ä", "x" * 300, "CON", "a b", "<script>"])
def test_every_name_has_a_file_of_its_own(name: str) -> None:
    found = slug(name)
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,80}", found)
    assert (found == name) == (name == "CON")
    assert found not in ("..", ".")


def test_hostile_names_are_data(tmp_path: Path, chromium: Any) -> None:
    runs = hostile_runs(tmp_path / "runs")
    assert mimbench.main(["report", "publish", str(runs), "--out", str(tmp_path / "site")]) == 0
    titles(tmp_path / "site")
    with browser.opened(chromium, tmp_path / "site/index.html") as seen:
        assert seen.complaints == []
        assert seen.requests == [(tmp_path / "site/index.html").as_uri()]


def test_no_two_encoders_share_a_page_and_each_says_what_was_left_out_of_it(tmp_path: Path) -> None:
    labels = ["a b", slug("a b"), "Swin", "swin", "a/b"]
    for label in labels:
        factory.write(tmp_path / "runs", factory.transfer(label))
    factory.write(tmp_path / "runs", factory.transfer("swin", 1, status="failed", error="WorkFailed: of swin"))
    out = tmp_path / "site"
    assert mimbench.main(["report", "publish", str(tmp_path / "runs"), "--out", str(out)]) == 0
    pages = list(out.glob("encoder-*.html"))
    assert len({page.name.casefold() for page in pages}) == len(labels)
    texts = [page.read_text(encoding="utf-8") for page in pages]
    assert sorted(re.findall(r'<th scope="row"><a href="#[^"]*"><bdi>([^<]*)', "".join(texts))) == sorted(labels)
    assert sum("WorkFailed: of swin" in text for text in texts) == 1
    assert "WorkFailed: of swin" in (out / "task-digits.html").read_text(encoding="utf-8")


def test_of_very_many_encoders_the_first_have_pages(
    publish: Publish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish()
    monkeypatch.setattr(site_pages, "MOST_PAGES", 2)
    publish()
    site = tmp_path / "site"
    assert {path.name for path in site.glob("encoder-*.html")} == {"encoder-simmim.html", "encoder-supervised.html"}
    index = (site / "index.html").read_text(encoding="utf-8")
    assert "1 more only on the tasks&#39; pages" in index or "1 more only on the tasks' pages" in index
    assert "encoder-scratch.html" not in index
    assert "<bdi>scratch" in (site / "task-digits.html").read_text(encoding="utf-8")
