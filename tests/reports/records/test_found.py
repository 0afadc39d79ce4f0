"""Every record below the given paths is found once, or left out with its reason."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.errors import UserError
from benchmarks.runs.find import find_runs
from benchmarks.runs.folder import announce
from reports.records.pretrainings import parents_nearby
from tests.reports import factory
from tests.reports.factory import collected, reasons


def test_all_ways_to_name_runs_find_the_same(tmp_path: Path) -> None:
    runs = factory.study(tmp_path)
    (tmp_path / "pipelines/ab/logs").mkdir(parents=True)
    (tmp_path / "stages").rename(tmp_path / "pipelines/ab/stages")
    (tmp_path / "pipelines/ab/manifest.json").write_text('{"stages": []}')

    def ids(*arguments: Path | str) -> set[str]:
        return {run.record.run_id for run in find_runs(list(map(str, arguments))).runs}

    by_folder = ids(runs)
    finished = {run.record.run_id for run in find_runs([str(runs)]).runs if run.record.status == "completed"}
    assert len(by_folder) == 13
    assert ids(f"{runs}/*") == ids(*runs.iterdir()) == ids(tmp_path) == by_folder
    assert ids(tmp_path / "pipelines/ab/stages") == ids(tmp_path / "pipelines") == finished
    assert len(ids(tmp_path / "pipelines/ab/stages/pretrain.json")) == 1


def test_a_run_reached_twice_counts_once(tmp_path: Path, runs: Path) -> None:
    (tmp_path / "link").symlink_to(next(runs.iterdir()))
    once, often = collected(runs), collected(runs, runs.parent / "stages", tmp_path / "link", runs.parent)
    assert [row.runs for row in often.rows] == [row.runs for row in once.rows]
    assert (often.pretrainings, often.left_out) == (once.pretrainings, once.left_out)


NO_DETAIL = {"missing": ("layers.0.w", "layers.1.w"), "mismatched": ("norm: found [3], expected [4]",)}


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"status": "failed", "error": "OSError: disk\nTraceback"}, "failed: OSError: disk"),
        ({"status": "preempted", "error": "time limit"}, "preempted: time limit"),
        ({"status": "started"}, "still started: begun 2026-05-04T10:00:00+00:00"),
        ({"load_report": None}, "no load report: nothing proves that hf-hub:lab/simmim was loaded"),
        (
            {"load_report": factory.loaded(coverage_percent=87.125, **NO_DETAIL)},
            "incomplete load report: 87.12 % loaded, 2 tensors missing, 1 tensor of another shape",
        ),
        ({"load_report": factory.loaded(coverage_percent=99.5)}, "incomplete load report: 99.50 % loaded"),
        ({"metrics": {}}, "no score: completed without top1"),
        ({"task": None}, "damaged: a transfer record must name its task and its encoder"),
        (
            {"task": factory.TaskUse(name="chess", version=1)},
            "unknown task: chess is not in this mimbench's catalogue",
        ),
    ],
)
def test_why_a_record_is_left_out(tmp_path: Path, fields: dict[str, object], reason: str) -> None:
    factory.write(tmp_path, factory.transfer("simmim", 0, **fields))
    assert reasons(tmp_path) == [reason]
    assert not collected(tmp_path).rows


def test_another_task_is_left_out_when_one_is_asked_for(tmp_path: Path) -> None:
    factory.write(tmp_path, factory.transfer())
    assert reasons(tmp_path, task="imagenet1k") == ["other task: digits, asked for imagenet1k"]
    assert reasons(tmp_path, task="digits") == []


def test_damaged_and_newer_records(tmp_path: Path) -> None:
    text = factory.transfer().model_dump_json()
    broken = {
        "binary": b"\xff\xfe\x00",
        "empty": b"",
        "half": text[: len(text) // 2].encode(),
        "list": b"[1, 2]",
        "newer": json.dumps(json.loads(text) | {"schema_version": 7, "novelty": 1}).encode(),
        "seed": json.dumps(json.loads(text) | {"seed": "zero"}).encode(),
    }
    for name, content in broken.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "record.json").write_bytes(content)
    found = {Path(left.where).parent.name: left.reason for left in collected(tmp_path).left_out}
    whole = "damaged: not a whole JSON object"
    assert found == {
        "binary": whole,
        "empty": whole,
        "half": whole,
        "list": whole,
        "newer": "newer schema: version 7; this mimbench reads up to 4: update it",
        "seed": "damaged: seed: Input should be a valid integer",
    }


def test_a_run_without_its_record_and_an_announcement_into_the_void(tmp_path: Path) -> None:
    (tmp_path / "lost").mkdir()
    (tmp_path / "lost/metrics.jsonl").write_text("{}")
    announce(tmp_path / "stages/gone.json", tmp_path / "nowhere")
    (tmp_path / "stages/half.json").write_text('{"run_dir": ')
    assert reasons(tmp_path) == [
        "no record: a run folder without record.json",
        f"no record: it announces {tmp_path / 'nowhere'}, where no record.json lies",
        "damaged: neither a record nor an announcement: not valid JSON",
    ]


def test_a_copied_run_counts_once(tmp_path: Path) -> None:
    record = factory.transfer()
    first = factory.write(tmp_path, record, name="a")
    factory.write(tmp_path, record, name="b")
    found = collected(tmp_path)
    assert [len(row.runs) for row in found.rows] == [1]
    assert [left.reason for left in found.left_out] == [
        f"duplicate run id: {record.run_id} was already read from {first}"
    ]


def test_two_records_with_one_id_that_differ_are_both_left_out(tmp_path: Path) -> None:
    factory.write(tmp_path, factory.transfer(top1=90.0), name="a")
    factory.write(tmp_path, factory.transfer(top1=99.0), name="b")
    found = collected(tmp_path)
    assert found.rows == ()
    assert [left.kind for left in found.left_out] == ["conflicting records"] * 2
    assert all("/a, " in left.detail and left.detail.endswith("/b") for left in found.left_out)


def test_a_parent_beside_its_child_is_found_though_not_asked_for(tmp_path: Path) -> None:
    parent = factory.pretrain()
    factory.write(tmp_path, parent, factory.loss_lines(2))
    child = factory.write(tmp_path, factory.transfer(parents=(parent.run_id,)))
    assert [run.record.run_id for run in parents_nearby(collected(child))] == [parent.run_id]
    assert parents_nearby(collected(tmp_path)) == []


@pytest.mark.parametrize("argument", ["nowhere", "nowhere/*", "notes.json"])
def test_an_argument_that_leads_nowhere_is_a_user_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, argument: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.json").write_text("{}")
    with pytest.raises(UserError, match="remedy"):
        find_runs([argument])
