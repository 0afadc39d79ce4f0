"""From records to rows: what is grouped into one row over seeds, and its mean and deviation."""

from __future__ import annotations

import itertools
import math
import statistics
from pathlib import Path

import numpy as np
import pytest

import mimbench
from benchmarks.history import TrainingStage
from benchmarks.runs.folder import announce
from benchmarks.runs.record import RunRecord
from reports.leaderboard.board import Request, make
from reports.records.rows import Draw, Row, TransferRun, spread
from reports.tables.csv_json_parquet import typed_rows
from tests.reports import factory
from tests.reports.factory import collected
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
