"""A leaderboard and its records, after somebody has touched one of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import mimbench
from benchmarks.version import program
from tests.reports import factory


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with runs/ and the report/ made from them, by paths below it."""
    folder = tmp_path_factory.mktemp("untouched")
    factory.study(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert mimbench.main(["report", "leaderboard", "runs", "--baseline", "supervised", "--out", "report"]) == 0
    return folder


@pytest.fixture
def study(untouched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the working directory, with a copy of runs/ and report/ that a test may touch."""
    shutil.copytree(untouched, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def verify(*arguments: object) -> int:
    return mimbench.main(["report", "verify", *map(str, arguments)])


def test_what_was_just_written_agrees(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert verify(study / "report") == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.rsplit(".", 1)[1] for line in said] == ["txt", "md", "csv", "json", "parquet", "tex", "html"]
    assert all(line.startswith("agrees: ") for line in said)


def test_a_page_alone_knows_what_it_was_made_of(study: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    page = shutil.copy(study / "report/leaderboard.html", tmp_path / "elsewhere/leaderboard.html")
    assert verify(page) == 0
    table = shutil.copy(study / "report/leaderboard.csv", tmp_path / "elsewhere/leaderboard.csv")
    Path(page).unlink()
    assert verify(table) == 2


@pytest.mark.parametrize("suffix", ["txt", "md", "csv", "json", "tex", "html"])
def test_an_edited_number_is_found(study: Path, suffix: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = study / f"report/leaderboard.{suffix}"
    text = path.read_text(encoding="utf-8")
    assert "95.97" in text
    path.write_text(text.replace("95.97", "98.97"), encoding="utf-8")
    capsys.readouterr()
    assert verify(study / "report") == 1
    out, error = capsys.readouterr()
    assert [line for line in out.splitlines() if line.startswith("differs")] == [f"differs: {path}"]
    assert "98.97" in out
    assert f"not what the records say: {path}\n" in error


def test_a_difference_is_said_to_be_perhaps_the_version_s(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A page as another version laid it out; an edited one of this version is not excused."""
    path = study / "report/leaderboard.html"
    made = path.read_text(encoding="utf-8")
    path.write_text(made.replace("may be compared with one another", "are alike"), encoding="utf-8")
    assert verify(path) == 1
    assert "compared by" not in capsys.readouterr().out
    earlier = made.replace(program(), "mimbench 0.0.9 (commit 0123456789ab)")
    assert earlier != made
    path.write_text(earlier, encoding="utf-8")
    assert verify(path) == 0  # the version alone is no difference
    path.write_text(earlier.replace("may be compared with one another", "are alike"), encoding="utf-8")
    assert verify(path) == 1
    said = " ".join(capsys.readouterr().out.split())
    assert f"made by mimbench 0.0.9 (commit 0123456789ab), compared by {program()}: " in said


def test_an_edited_record_is_found(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = next(path for path in (study / "runs").glob("*/record.json") if '"last": 95.6' in path.read_text())
    path.write_text(path.read_text().replace('"last": 95.6', '"last": 99.6'))
    assert verify(study / "report") == 1
    assert "altered record" in capsys.readouterr().out


def test_a_record_that_is_gone_is_found_and_one_that_is_new(study: Path) -> None:
    gone = next((study / "runs").glob("digits-digits_finetune-*"))
    shutil.move(gone, study / "aside")
    assert verify(study / "report") == 1
    shutil.move(study / "aside", gone)
    assert verify(study / "report") == 0
    factory.write(study / "runs", factory.transfer("newcomer"))
    assert verify(study / "report") == 1


def test_records_may_have_moved(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (study / "runs").rename(study / "archive")
    assert verify(study / "report") == 2
    assert "RUNS = " in capsys.readouterr().err
    assert verify(study / "report", "--runs", study / "archive") == 0


def test_what_is_no_leaderboard_is_a_wrong_request(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify(tmp_path) == 2
    assert verify(tmp_path / "nothing") == 2
    (tmp_path / "leaderboard.json").write_text(json.dumps({"request": {"runs": 3, "novelty": 1}}))
    assert verify(tmp_path) == 2
    assert "verify the whole folder" in capsys.readouterr().err


def test_of_a_report_without_an_overview_the_rows_are_compared(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = study / "report"
    document = json.loads((report / "leaderboard.json").read_text())
    del document["request"]["layout"], document["overview"], document["findings"]
    document["rows"].reverse()
    (report / "leaderboard.json").write_text(json.dumps(document))
    for path in report.glob("leaderboard.[!j]*"):
        path.unlink()
    assert verify(report) == 0
    document["rows"][0]["top1_delta_low"] = -100.0
    (report / "leaderboard.json").write_text(json.dumps(document))
    capsys.readouterr()
    assert verify(report) == 1
    assert "-top1_delta_low: -100.0" in capsys.readouterr().out


def test_of_a_report_with_bootstrap_intervals_the_rows_are_compared(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The files as the version before had them: no word of the method, an interval that ends at the extreme seeds."""
    report = study / "report"
    for path in report.glob("leaderboard.[!p]*"):
        text = path.read_text(encoding="utf-8").replace("[+0.60, +1.60] (paired t, n = 3)", "[+0.90, +1.30]")
        for name in (', "intervals": "student_t"', ", &#34;intervals&#34;: &#34;student_t&#34;"):
            text = text.replace(name, "")
        path.write_text(text, encoding="utf-8")
    document = json.loads((report / "leaderboard.json").read_text())
    del document["request"]["intervals"]
    for row in document["rows"]:
        row |= {"top1_delta_low": None, "top1_delta_high": None}
        del row["top1_delta_method"]
    (report / "leaderboard.json").write_text(json.dumps(document))
    (report / "leaderboard.parquet").unlink()
    capsys.readouterr()
    assert verify(report) == 0
    said = capsys.readouterr().out
    assert [said.count(word) for word in ("agrees: ", "not compared: ", "differs: ")] == [2, 4, 0]
    assert "made by an earlier version" in said
    for row in document["rows"]:
        row["top1_last_mean"] += 1
    (report / "leaderboard.json").write_text(json.dumps(document))
    assert verify(report) == 1
    assert "-top1_last_mean: 96.97" in capsys.readouterr().out
    for path in report.glob("leaderboard.[cj]*"):
        path.unlink()
    assert verify(report / "leaderboard.html") == 1
    assert "nothing agrees with the records" in capsys.readouterr().err
