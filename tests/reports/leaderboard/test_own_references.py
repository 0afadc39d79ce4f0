"""Published numbers that a person brings, and how published rows are called and sorted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import mimbench
from reports.leaderboard.lines import published_beside
from tests.reports import browser, factory

HEADER = "task,protocol,method,backbone,pretrain_epochs,image_size_px,init_stage,variant,metric,value,source,locator"
HEADER += ",verified"
OURS = "digits,finetune,ours,Net-1,10,64,self-supervised,,top1,97.10,https://example.org/paper?a=1&b=2"
OURS += ',"table 1, row 2",true'


@pytest.fixture
def place(tmp_path: Path) -> Path:
    factory.write(tmp_path / "runs", factory.transfer("simmim", 0, 93.0))
    return tmp_path


def report(place: Path, *lines: str, more: tuple[str, ...] = ()) -> int:
    (place / "own.csv").write_text("\n".join((HEADER, *lines)) + "\n", encoding="utf-8")
    asked = ["report", "leaderboard", str(place / "runs"), "--references", str(place / "own.csv"), *more]
    return mimbench.main([*asked, "--out", str(place / "out")])


def written(place: Path) -> Any:
    return json.loads((place / "out/leaderboard.json").read_text(encoding="utf-8"))


def test_own_numbers_stand_apart_with_their_source(place: Path) -> None:
    assert report(place, OURS, OURS.replace("97.10", "98.2").replace("Net-1", "Net-2")) == 0
    rows = written(place)["rows"]
    assert [(row["kind"], row["encoder"], row["top1_last_mean"]) for row in rows] == [
        ("measured", "simmim", 93.0),
        ("reported", "ours Net-2, fine-tuned, 10 epochs, 64 px", 98.2),
        ("reported", "ours Net-1, fine-tuned, 10 epochs, 64 px", 97.1),
    ]
    assert written(place)["overview"] == [
        {**written(place)["overview"][0], "encoder": "simmim"},
    ]
    assert mimbench.main(["report", "verify", str(place / "out")]) == 0
    (place / "own.csv").write_text(f"{HEADER}\n{OURS.replace('97.10', '99.9')}\n")
    assert mimbench.main(["report", "verify", str(place / "out")]) == 1


def test_a_table_that_excel_saved_is_read(place: Path) -> None:
    (place / "own.csv").write_text(f"{HEADER}\r\n{OURS}\r\n", encoding="utf-8-sig", newline="")
    asked = ["report", "leaderboard", str(place / "runs"), "--references", str(place / "own.csv")]
    assert mimbench.main([*asked, "--out", str(place / "out")]) == 0
    assert [row["kind"] for row in written(place)["rows"]] == ["measured", "reported"]


def test_the_source_is_a_link(chromium: Any, place: Path) -> None:
    assert report(place, OURS) == 0
    page = place / "out/leaderboard.html"
    with browser.opened(chromium, page) as seen:
        links = seen.page.locator('a[href="https://example.org/paper?a=1&b=2"]')
        assert links.all_text_contents() == ["reported", "https://example.org/paper?a=1&b=2 (table 1, row 2)"]
        assert seen.requests == [page.as_uri()]
    markdown = (place / "out/leaderboard.md").read_text(encoding="utf-8")
    assert ", reported: <https://example.org/paper?a=1&b=2> (table 1, row 2)" in markdown


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (OURS.replace("97.10", "197"), "line 3, value = 197"),
        (OURS.replace("97.10", "9_7.10"), "line 3, value = 9_7.10"),
        (OURS.replace("97.10", "٩٧"), "line 3, value = ٩٧"),
        (OURS.replace("example.org", ""), "line 3, source = https:///paper?a=1&b=2"),
        (OURS.replace("/paper", "/> [a](b)"), "line 3, source = https://example.org/> [a](b)?a=1&b=2"),
        (OURS.replace("digits", "digit"), "line 3, task = digit"),
        (OURS.replace("top1", "mIoU"), "line 3, metric = mIoU"),
        (OURS.replace("https", "javascript"), "line 3, source = javascript://example.org/paper?a=1&b=2"),
        (OURS.replace(",true", ""), "line 3 = another number of cells"),
        (OURS.replace(",64,", ",-64,"), "line 3, image_size_px = -64"),
        (OURS.replace(",true", ",perhaps"), "line 3, verified = perhaps"),
    ],
)
def test_a_wrong_line_is_named(place: Path, capsys: pytest.CaptureFixture[str], line: str, said: str) -> None:
    assert report(place, OURS, line) == 2
    error = capsys.readouterr().err
    assert f"{place / 'own.csv'}, {said}" in error
    assert "rule:" in error
    assert "remedy:" in error
    assert not (place / "out").exists()


def test_wrong_arguments(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["report", "leaderboard", str(place / "runs"), "--out", str(place / "out"), "--references"]
    for value, said in (
        (["everything"], "--references = everything"),
        (["none", "--references", "all"], "--references = none and all"),
        ([str(place / "absent.csv")], "No such file"),
        ([str(place / "folder.csv")], "Is a directory"),
    ):
        (place / "folder.csv").mkdir(exist_ok=True)
        assert mimbench.main([*asked, *value]) == 2
        assert said in capsys.readouterr().err


def test_what_is_not_shown_is_named(place: Path) -> None:
    unread, coco = OURS.replace(",true", ",false"), OURS.replace("digits", "coco").replace("top1", "box_ap")
    assert report(place, unread, coco) == 0
    assert [row["kind"] for row in written(place)["rows"]] == ["measured"]
    notes = " ".join(written(place)["notes"])
    assert "1 number of " in notes
    assert "not shown, as verified is false: --unverified shows them." in notes
    assert "on coco are not shown: no run was measured there." in notes
    assert report(place, unread, more=("--unverified", "--references", "none")) == 0
    assert [row["kind"] for row in written(place)["rows"]] == ["measured", "reported"]


def test_published_rows_are_told_apart_and_sorted() -> None:
    """All of a task: no two of one name, fine-tuned ones first, each protocol by score, ablations below."""
    found = published_beside("imagenet1k", [], "all", unverified=True)
    assert len({one.name for one in found}) == len(found) > 100
    order = [
        (one.first.ablation, one.first.protocol != "finetune") for one in found if one.first.protocol != "pretrain"
    ]
    assert order == sorted(order)
    scores = [float(one.value("top1")) for one in found if not one.first.ablation and one.first.protocol == "linear"]
    assert len(scores) > 2
    assert scores == sorted(scores, reverse=True)
    assert any(one.name == "mae ViT-B, linear probe, 224 px" for one in found)
