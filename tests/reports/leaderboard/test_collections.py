"""Collections of runs of different people: copies, runs that disagree, labels that collide, signatures."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import mimbench
from benchmarks.runs.folder import announce
from benchmarks.runs.record import RunRecord
from reports.records.collections import named
from tests.reports import factory
from tests.reports.hostile import NAMES
from tests.reports.records.test_signatures import new_key


def report(*arguments: object) -> int:
    return mimbench.main(["report", "leaderboard", *map(str, arguments)])


def written(out: Path) -> Any:
    return json.loads((out / "leaderboard.json").read_text(encoding="utf-8"))


def measured(out: Path) -> dict[str, dict[str, Any]]:
    return {row["encoder"]: row for row in written(out)["rows"] if row["kind"] == "measured"}


def again(record: RunRecord, top1: float) -> RunRecord:
    """Return a run of the same id as somebody else makes it, on another day."""
    metrics = {**record.metrics, "top1": record.metrics["top1"].model_copy(update={"last": top1, "best": top1})}
    return record.model_copy(update={"metrics": metrics, "started_at": "2026-06-01T08:00:00+00:00"})


@pytest.fixture
def labs(tmp_path: Path) -> Path:
    """Return a folder with lab_a, which has two encoders, and lab_b, which made the runs of one of them again."""
    for label, start in (("simmim", 93.0), ("supervised", 91.0)):
        for seed in range(3):
            record = factory.transfer(label, seed, start + seed / 4)
            factory.write(tmp_path / "lab_a", record)
            if label == "simmim":
                factory.write(tmp_path / "lab_b", again(record, start + 1 + seed / 4))
    return tmp_path


def test_one_run_made_by_two_people_is_a_row_of_each(labs: Path) -> None:
    asked = ("--in", labs / "lab_a", "--in", labs / "lab_b", "--baseline", "supervised", "--out", labs / "out")
    assert report(*asked) == 0
    rows = measured(labs / "out")
    assert {name: (row["collection"], row["top1_last_mean"], row["top1_last_n"]) for name, row in rows.items()} == {
        "simmim (lab_a)": ("lab_a", 93.25, 3),
        "simmim (lab_b)": ("lab_b", 94.25, 3),
        "supervised": ("lab_a", 91.25, 3),
    }
    assert [row["top1_delta"] for row in rows.values()] == [3.0, 2.0, None]
    assert "compared with the baseline of lab_a" in rows["simmim (lab_b)"]["mark"]
    assert "compared with" not in rows["simmim (lab_a)"]["mark"]
    notes = written(labs / "out")["notes"]
    assert "Collection lab_a: 6 transfer runs in 2 rows; none signed." in notes
    assert "Collection lab_b: 3 transfer runs in 1 row; none signed." in notes
    assert mimbench.main(["report", "verify", str(labs / "out")]) == 0


def test_every_collection_has_its_own_baseline(labs: Path) -> None:
    for seed in range(3):
        factory.write(labs / "lab_b", again(factory.transfer("supervised", seed), 90.0 + seed / 4))
    asked = ("--in", labs / "lab_a", "--in", labs / "lab_b", "--baseline", "supervised", "--out", labs / "out")
    assert report(*asked, "--formats", "json") == 0
    rows = measured(labs / "out")
    assert rows["simmim (lab_a)"]["top1_delta"] == 2.0  # 93.25 - 91.25
    assert rows["simmim (lab_b)"]["top1_delta"] == 4.0  # 94.25 - 90.25
    assert not any("compared with the baseline" in (row.get("mark") or "") for row in rows.values())


def test_a_copy_counts_once_and_a_changed_copy_discredits_both(labs: Path) -> None:
    simmim, supervised = (labs / "lab_a" / factory.transfer(label, 0).run_id for label in ("simmim", "supervised"))
    shutil.rmtree(labs / "lab_b" / simmim.name)
    shutil.copytree(simmim, labs / "lab_b" / simmim.name)
    changed = shutil.copytree(supervised, labs / "lab_b" / supervised.name) / "record.json"
    changed.write_text(changed.read_text().replace('"host": "laptop"', '"host": "tower"'))
    assert report("--in", labs / "lab_a", "--in", labs / "lab_b", "--out", labs / "out", "--formats", "json") == 0
    rows, left_out = measured(labs / "out"), written(labs / "out")["left_out"]
    assert rows["simmim (lab_a)"]["top1_last_n"] == 3
    assert rows["simmim (lab_b)"]["top1_last_n"] == 2
    assert rows["supervised"]["top1_last_n"] == 2
    reasons = sorted(left["reason"].partition(":")[0] for left in left_out)
    assert reasons == ["conflicting records", "conflicting records", "duplicate run id"]
    assert all(str(labs / lab) in left_out[1]["reason"] for lab in ("lab_a", "lab_b"))


def test_a_run_that_two_collections_show_is_marked_in_both(labs: Path) -> None:
    """Whose it is cannot be known: a copy under one's own label, or an announcement that leads to another's run."""
    record = factory.transfer("simmim", 0, 93.0)
    [folder] = [each for each in (labs / "lab_a").iterdir() if each.name == record.run_id]
    announce(labs / "lab_b/ours.json", folder, "ours")
    assert (
        report("--in", labs / "lab_a", "--in", labs / "lab_b", "--baseline", "supervised", "--out", labs / "out") == 0
    )
    marks = {name: row["mark"] or "" for name, row in measured(labs / "out").items()}
    said = "this run is in lab_a and in lab_b (seed 0)"
    assert {name for name, mark in marks.items() if said in mark} == {"simmim (lab_a)", "ours"}


def test_names_of_collections(labs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The folder's own name, the whole path where several end alike, or what a person gives."""
    shutil.copytree(labs / "lab_b", labs / "two" / "lab_a")
    asked = ("--in", labs / "lab_a", "--in", labs / "two/lab_a", "--in", f"ours={labs / 'lab_b'}", "--formats", "json")
    assert report(*asked, "--out", labs / "out") == 0
    request = written(labs / "out")["request"]
    assert request["collections"] == [str(labs / "lab_a"), str(labs / "two/lab_a"), "ours"]
    assert report(*asked[:4], labs / "lab_b", "--out", labs / "out") == 2
    assert "RUNS and --in = both" in capsys.readouterr().err
    assert report("--out", labs / "out") == 2
    assert report("--in", f"={labs}", "--out", labs / "out") == 2
    assert "--in = " in capsys.readouterr().err


def test_places_of_one_name_are_one_collection_which_says_where_it_lies(labs: Path) -> None:
    asked = [f"lab={labs / 'lab_a'}", f"lab={labs / 'lab_b'}"]
    assert report("--in", asked[0], "--in", asked[1], "--out", labs / "out") == 0
    words = (
        f"Collection lab, which lies in {labs / 'lab_a'} and {labs / 'lab_b'}: 3 transfer runs in 1 row; none signed."
    )
    assert words in written(labs / "out")["notes"]
    assert mimbench.main(["report", "verify", str(labs / "out")]) == 0


def test_no_place_is_in_two_collections(labs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (labs / "link").symlink_to(labs / "lab_a")
    run = next((labs / "lab_a").iterdir())
    lab = labs / "lab_a"
    rules = {
        f"two={labs / 'link'}": f"--in = {lab}\n  rule:   a place another than {labs / 'link'}",
        f"one={lab}": f"a place another than {lab}",
        f"two={run}": f"--in = {run}\n  rule:   a place not inside {lab}",
        f"all={labs}": f"--in = {lab}\n  rule:   a place not inside {labs}",
    }
    for other, rule in rules.items():
        assert report("--in", f"one={lab}", "--in", other, "--out", labs / "out") == 2
        assert rule in capsys.readouterr().err
    assert not (labs / "out").exists()
    beside = shutil.copytree(labs / "lab_b", labs / "lab_a_too")
    assert report("--in", lab, "--in", beside, "--out", labs / "out", "--formats", "json") == 0


def test_moved_collections_are_verified_in_their_order(labs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report("--in", labs / "lab_a", "--in", labs / "lab_b", "--out", labs / "out", "--formats", "json") == 0
    for name in ("lab_a", "lab_b"):
        (labs / name).rename(labs / f"moved-{name}")
    verify = ["report", "verify", str(labs / "out"), "--runs", str(labs / "moved-lab_a")]
    assert mimbench.main([*verify, str(labs / "moved-lab_b")]) == 0
    capsys.readouterr()
    assert mimbench.main(verify) == 2
    assert "as many places as there are in collections: 2" in capsys.readouterr().err


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="needs OpenSSH")
def test_collections_say_what_is_signed_and_leave_out_what_is_wrongly_signed(labs: Path) -> None:
    key = new_key(labs / "key", "bob@lab-b")
    folders = sorted((labs / "lab_b").iterdir())
    assert mimbench.main(["report", "sign", *map(str, folders[:2]), "--key", str(key)]) == 0
    with (folders[1] / "metrics.jsonl").open("a") as log:
        log.write("\n")  # no score depends on it
    assert report("--in", labs / "lab_a", "--in", labs / "lab_b", "--out", labs / "out", "--formats", "json") == 0
    notes = " ".join(written(labs / "out")["notes"])
    assert "Collection lab_a: 6 transfer runs in 2 rows; none signed." in notes
    assert "Collection lab_b: 2 transfer runs in 1 row; 1 signed by key SHA256:" in notes
    assert ", 1 unsigned." in notes
    (left,) = written(labs / "out")["left_out"]
    assert left["record"] == str(folders[1])
    assert left["reason"] == "wrongly signed: metrics.jsonl is not what was signed"


def test_encoders_of_one_label_are_told_apart_in_the_overview(tmp_path: Path) -> None:
    for lab in ("a", "b"):
        use = factory.encoder("simmim", sha256=factory.sha(lab))
        factory.write(tmp_path / lab, factory.transfer(encoder=use))
    asked = ("--in", tmp_path / "a", "--in", tmp_path / "b", "--out", tmp_path / "out", "--formats", "json")
    assert report(*asked) == 0
    names = {each["encoder"] for each in written(tmp_path / "out")["overview"]}
    assert names == set(measured(tmp_path / "out")) == {"simmim (a)", "simmim (b)"}


def test_any_text_names_a_collection_and_is_data(labs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [name for name in NAMES if "=" not in name]
    assert named([f"{name}={labs / str(place)}" for place, name in enumerate(names)])[1] == tuple(names)
    asked = [
        f"{name}={labs / lab}" for name, lab in (("<script>" + "x" * 4000, "lab_a"), ("two\nlines\x1b[31m", "lab_b"))
    ]
    assert report("--in", asked[0], "--in", asked[1], "--out", labs / "out", "--formats", "html,txt,json") == 0
    assert "two\\nlines\\x1b[31m" in capsys.readouterr().out
    page = (labs / "out/leaderboard.html").read_text(encoding="utf-8")
    assert "<script>x" not in page
    assert "\x1b" not in page
    assert report("--in", "x" * 5000, "--out", labs / "other") == 2
    assert report("x" * 5000, "--out", labs / "other") == 2
