"""Pictures of test images in a leaderboard and a comparison: what they say is in predictions.csv."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
from pathlib import Path

import pytest
from PIL import Image

import mimbench
from tests.reports import factory
from tests.reports.browser import opened, started
from tests.reports.factory import IMAGES

COLOURS = {"cat": (200, 30, 30), "dog": (30, 200, 30), "owl": (30, 30, 200)}
WRONG = {"simmim": {"cat": 2}, "supervised": {"cat": 1, "owl": 3}}
"""Of each class, how many of the first images an encoder takes for something else."""


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Return a folder with runs/ of two encoders, and the images of their test set in data/, each class one colour."""
    for name, label in IMAGES:
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 30), COLOURS[label]).save(path)
    use = factory.data().model_copy(update={"root": str(tmp_path / "data")})
    for encoder, wrong in WRONG.items():
        factory.predict(factory.write(tmp_path / "runs", factory.transfer(encoder, data=use)), wrong)
    return tmp_path


def leaderboard(study: Path, *more: str) -> str:
    command = ["report", "leaderboard", str(study / "runs"), "--out", str(study / "report"), *more]
    assert mimbench.main(command) == 0
    return (study / "report" / "leaderboard.html").read_text()


def rows(page: str) -> list[tuple[str, tuple[int, int, int], list[str]]]:
    """Return name, colour and words of all pictures on a page."""
    found = []
    for row in re.findall(r"<tr><th scope=\"row\"><img src=.*?</tr>", page, re.DOTALL):
        data, name = re.findall(r'src="data:image/(?:png|jpeg);base64,([^"]+)" alt="([^"]+)"', row)[0]
        with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
            colour = picture.convert("RGB").getpixel((3, 3))
        words = [re.sub("<[^>]+>", "", cell) for cell in re.findall(r"<td>(.*?)</td>", row)]
        found.append((name, colour, words))
    return found


def test_images_below_a_relative_root_are_found_from_any_folder(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = rows(leaderboard(study, "--pictures"))
    for path in (study / "runs").rglob("record.json"):
        record = json.loads(path.read_text())
        path.write_text(json.dumps({**record, "data": {**record["data"], "root": "data"}, "started_in": "../.."}))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert rows(leaderboard(study, "--pictures")) == expected
    assert rows(leaderboard(Path("../"), "--pictures")) == expected
    for way in ("../../elsewhere", "/", ""):  # a way may only lead up
        for path in (study / "runs").rglob("record.json"):
            path.write_text(json.dumps({**json.loads(path.read_text()), "started_in": way}))
        assert rows(leaderboard(study, "--pictures")) == []


def test_a_leaderboard_shows_images_on_which_encoders_disagree_most(study: Path) -> None:
    assert rows(leaderboard(study)) == [], "only on request"
    page = leaderboard(study, "--pictures")
    found = rows(page)
    assert len(found) == 8
    for name, colour, words in found:
        _, label, number = Path(name).with_suffix("").parts
        assert words[0] == label
        assert colour == COLOURS[label], "the picture is of the image that it names"
        for encoder, cell in zip(WRONG, words[1:], strict=True):
            mistaken = int(number) < WRONG[encoder].get(label, 0)
            assert cell == ("wrong: other" if mistaken else f"right: {label}")
    disagreed = {"test/cat/1.png", "test/owl/0.png", "test/owl/1.png", "test/owl/2.png"}
    assert {name for name, _, _ in found[:4]} == disagreed
    assert found[4][0] == "test/cat/0.png", "then what all mistake"
    pictures = re.findall(r'<section class="gallery">.*?</section>', page, re.DOTALL)
    assert sum(map(len, pictures)) < 200_000
    with started() as browser:
        for width in (390, 1440):
            with opened(
                browser, study / "report" / "leaderboard.html", viewport={"width": width, "height": 800}
            ) as seen:
                assert seen.page.evaluate("document.documentElement.scrollWidth") <= width
                assert seen.complaints == []
                assert seen.page.evaluate("[...document.images].every(each => each.naturalWidth === 80)"), "twice 40 px"


def test_verify_says_what_it_could_not_compare(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = leaderboard(study, "--pictures")

    def verified() -> tuple[int, str]:
        capsys.readouterr()
        code = mimbench.main(["report", "verify", str(study / "report")])
        return code, capsys.readouterr().out

    code, said = verified()
    assert (code, "pictures" in said) == (0, False)
    (study / "data").rename(study / "gone")
    code, said = verified()
    assert code == 0
    assert "leaderboard.html, but for its pictures: the test images are no longer at hand" in said
    assert said.count("agrees: ") == 7
    file = study / "report" / "leaderboard.html"
    top1 = f"{100 - 100 * 2 / 30:.2f}"
    assert top1 in page
    file.write_text(page.replace(top1, "99.99"))
    assert verified()[0] == 1, "the rest is still compared"
    file.write_text(page)
    (study / "gone").rename(study / "data")
    Image.new("RGB", (40, 30), "white").save(study / "data" / "test" / "cat" / "0.png")
    assert verified()[0] == 1, "another image than then"


def test_no_file_outside_the_data_is_embedded(study: Path) -> None:
    secret = study / "secret.png"
    shutil.copy(study / "data" / "test" / "cat" / "0.png", secret)
    for table in (study / "runs").glob("*/predictions.csv"):
        lines = table.read_text().replace("test/cat/0.png", "../secret.png").replace("test/cat/1.png", str(secret))
        table.write_text(lines)
    names = {name for name, _, _ in rows(leaderboard(study, "--pictures"))}
    assert len(names) == 8
    assert not any("secret" in name for name in names)


def test_a_comparison_shows_what_one_side_alone_gets_right(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["report", "compare", "simmim", "supervised", "--in", str(study / "runs"), "--pictures"]
    assert mimbench.main(command) == mimbench.WRONG
    assert "with --out, where the page goes" in capsys.readouterr().err
    assert mimbench.main([*command, "--out", str(study / "out")]) == 0
    page = (study / "out" / "comparison.html").read_text()
    first, second = page.split("<h3>Test images that B gets right and A wrong: 1")
    assert "Test images that A gets right and B wrong: 3" in first
    assert {name for name, _, _ in rows(first)} == {f"test/owl/{number}.png" for number in range(3)}
    assert [name for name, _, _ in rows(second)] == ["test/cat/1.png"]
    assert all(words[1].startswith("right") and words[2].startswith("wrong") for _, _, words in rows(first))
