"""From paths to rows: every record is found once, grouped rightly, or left out with its reason."""

from __future__ import annotations

import itertools
import json
import math
import statistics
from pathlib import Path

import numpy as np
import pytest

import mimbench
from benchmarks.errors import UserError
from benchmarks.history import TrainingStage
from benchmarks.runs.find import find_runs
from benchmarks.runs.folder import announce
from benchmarks.runs.record import RunRecord
from reports.leaderboard.board import Request, make
from reports.records.pretrainings import parents_nearby
from reports.records.rows import Draw, Row, TransferRun, spread
from reports.tables.csv_json_parquet import typed_rows
from tests.reports import factory
from tests.reports.factory import collected, reasons
from tests.support.runs import only_run


def test_the_study_of_13_runs_adds_up(runs: Path) -> None:
    found = collected(runs)
    assert sorted((row.encoder.label, row.recipe.name, row.seeds) for row in found.rows) == [
        ("scratch", "digits_finetune", [0, 1, 2]),
        ("scratch", "digits_supervised", [0]),
        ("simmim", "digits_finetune", [0, 1, 2]),
        ("supervised", "digits_finetune", [0, 1, 2]),
    ]
    assert len(found.pretrainings) == 1
    assert found.account == (
        "13 records found: 10 transfer runs in 4 rows; 1 pretraining run; 2 left out (1 failed, 1 still started)."
    )


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
    assert collected(runs, runs.parent / "stages", tmp_path / "link", runs.parent) == collected(runs)


def test_mean_and_deviation_are_the_sample_s(tmp_path: Path) -> None:
    scores = [93.25, 94.5, 92.125, 93.0]
    for seed, top1 in enumerate(scores):
        factory.write(tmp_path, factory.transfer("simmim", seed, top1))
    (row,) = collected(tmp_path).rows
    last, best = row.last("top1"), row.best("top1")
    assert last is not None
    assert best is not None
    assert last == pytest.approx((np.mean(scores), np.std(scores, ddof=1), 4))
    assert last.std == pytest.approx(statistics.stdev(scores))
    assert best.mean == pytest.approx(np.mean(scores) + 0.5)


def test_one_run_has_no_deviation() -> None:
    assert spread([93.0]) == (93.0, None, 1)
    assert spread([]) is None


@pytest.mark.parametrize(
    "fields",
    [
        {"encoder": factory.encoder("simmim", sha256="f" * 64)},
        {"encoder": factory.encoder("simmim", init_stage="fine-tuned")},
        {"encoder": factory.encoder("other")},
        {"encoder": factory.encoder("simmim", architecture=factory.find_architecture("resnet50"))},
        {"recipe": factory.recipe(epochs=3)},
        {"image_size_px": 96},
        {"data": factory.data("1 image, content ff")},
        {"task": factory.TaskUse(name="digits", version=2)},
    ],
)
def test_what_differs_in_any_condition_is_another_row(tmp_path: Path, fields: dict[str, object]) -> None:
    factory.write(tmp_path, factory.transfer("simmim", 0))
    factory.write(tmp_path, factory.transfer("simmim", 1, **fields))
    assert [len(row.runs) for row in collected(tmp_path).rows] == [1, 1]


def test_random_encoders_are_one_row_over_seeds_though_their_weights_differ(tmp_path: Path) -> None:
    for seed in range(3):
        factory.write(tmp_path, factory.transfer("scratch", seed))
    (row,) = collected(tmp_path).rows
    assert row.seeds == [0, 1, 2]


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


def test_a_seed_counts_once_in_a_row_and_the_first_to_finish_stands(tmp_path: Path) -> None:
    renamed = factory.recipe().model_copy(update={"name": "copy"})
    factory.write(tmp_path, factory.transfer(recipe=renamed, finished_at="2026-05-05T00:00:00+00:00"), name="a")
    first = factory.transfer(top1=90.0)
    factory.write(tmp_path, first, name="b")
    found = collected(tmp_path)
    assert found.rows[0].scores("top1") == {Draw(0): 90.0}
    assert [left.reason for left in found.left_out] == [
        f"repeated seed: seed 0 of this row is run {first.run_id}, which finished first"
    ]


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


def test_curves_span_the_seeds_and_a_resumed_epoch_counts_once(tmp_path: Path) -> None:
    from reports.charts.curves import loss_curve, score_curve

    again = [{"epoch": 1.0, "top1": 10.0}, {"epoch": 1.0, "top1": 20.0}, {"epoch": 2.0, "top1": 50.0}]
    other = [{"epoch": 1.0, "top1": 40.0}, {"epoch": 3, "top1": 1}]
    records = [factory.transfer(seed=seed) for seed in range(2)]
    folders = [factory.write(tmp_path, *each) for each in zip(records, (again, other), strict=True)]
    with (folders[1] / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 2.0, "top1": NaN}\n{"epoch": 2.0, "to')
    runs = [TransferRun(path, one, one.task, one.encoder) for path, one in zip(folders, records, strict=True)]
    row = Row(tuple(runs))
    assert score_curve(row, "top1") == ([1.0], [30.0], [20.0], [40.0])

    losses = [{"epoch": step / 100, "loss": float(step)} for step in range(1, 1201)]
    curve = loss_curve(factory.write(tmp_path, factory.pretrain(), losses))
    assert curve is not None
    assert len(curve.epochs) == math.ceil(1200 / 4)
    assert (curve.mean[0], curve.low[0], curve.high[0]) == (2.5, 1.0, 4.0)


def test_a_run_that_two_pipelines_share_has_the_name_that_each_gives_it(tmp_path: Path) -> None:
    folder = factory.write(tmp_path / "runs", factory.transfer("sup", seed=0))
    announce(tmp_path / "one" / "a.json", folder, "scratch")
    announce(tmp_path / "one" / "b.json", folder, "sup (training)")
    announce(tmp_path / "two" / "a.json", folder, "fresh")
    assert [row.encoder.label for row in collected(tmp_path / "one").rows] == ["scratch", "sup (training)"]
    assert [row.encoder.label for row in collected(tmp_path / "two").rows] == ["fresh"]
    assert [row.encoder.label for row in collected(tmp_path / "runs").rows] == ["sup"]
    assert collected(tmp_path / "one", tmp_path / "two").left_out == ()


def of_pretraining(pretraining: int, finetuned: int, **fields: object) -> RunRecord:
    """Return a transfer of an encoder that was pretrained with a seed."""
    known = {"run_id": f"pretrain-{pretraining}", "recipe_digest": "5eed", "seed": pretraining, "epochs": 40}
    stage = TrainingStage(method="simmim", seconds=9.0 + pretraining, **{**known, **fields})
    encoder = factory.encoder("simmim", sha256=factory.sha(f"{pretraining}{fields}"), history=(stage,))
    return factory.transfer("simmim", finetuned, 90.0 + 2 * pretraining + finetuned / 4, encoder=encoder)


def test_encoders_trained_alike_with_several_seeds_are_one_row(tmp_path: Path) -> None:
    for seed, finetuned in itertools.product((2, 0, 1), (0, 1)):
        factory.write(tmp_path, of_pretraining(seed, finetuned))
    (row,) = collected(tmp_path).rows
    assert [row.draw(run) for run in row.runs] == [(fine, (seed,)) for seed in range(3) for fine in range(2)]
    assert row.last("top1") == pytest.approx((92.125, 2.0, 3))  # of the means 90.125, 92.125, 94.125
    (line,) = typed_rows(make(Request((str(tmp_path),))))
    assert line["pretrainings"] == "3 (seeds 0, 1, 2)"
    assert str(line["run_ids"]).endswith("(seed 1 of pretraining 2)")
    assert len(str(line["encoder_sha256"]).split("; ")) == 3


@pytest.mark.parametrize("fields", [{"recipe_digest": "07e5"}, {"epochs": 80}, {"seed": None}, {"seed": 0}])
def test_encoders_that_differ_in_more_than_the_seed_are_rows_of_their_own(
    tmp_path: Path, fields: dict[str, object]
) -> None:
    factory.write(tmp_path, of_pretraining(0, 0))
    factory.write(tmp_path, of_pretraining(1, 0, **fields))
    assert [row.nested for row in collected(tmp_path).rows] == [False, False]


def test_real_pretrainings_with_two_seeds_are_one_row(
    pretrain_command: list[str], transfer_command: list[str], tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    for seed in (0, 1):
        here = tmp_path / f"pretrained-{seed}"
        assert mimbench.main([*pretrain_command, "--seed", str(seed), "--runs", str(here)]) == 0
        encoder = ["--encoder", str(only_run(here)), "--label", "simmim"]
        assert mimbench.main([*transfer_command, *encoder, "--runs", str(runs)]) == 0
    (row,) = collected(runs).rows
    assert row.pretrainings == [(0,), (1,)]
    (line,) = typed_rows(make(Request((str(runs),))))
    assert (line["pretrainings"], line["top1_last_n"], line["runs"]) == ("2 (seeds 0, 1)", 2, 2)
