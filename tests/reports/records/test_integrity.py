"""Which records are believed: a real run's and older ones; not those that were edited, or made up."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest

import mimbench
from benchmarks.catalogue.tasks import TASKS
from benchmarks.config import digest_of, load_recipe, recipe_names, without_fields
from benchmarks.encoders import find_architecture
from benchmarks.errors import UserError
from benchmarks.runs.record import MetricValue
from reports.leaderboard.board import Request, make
from reports.records.integrity import altered
from reports.tables.csv_json_parquet import typed_rows
from tests.reports import factory
from tests.reports.factory import collected, reasons
from tests.support.runs import only_run, record_of
from transfer.adapter import adapter_for

WIDER = find_architecture("digits_swin").with_arguments(embed_dim=64)


def test_what_a_real_transfer_leaves_is_believed(transfer_command: list[str], tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    assert mimbench.main([*transfer_command, "--encoder", "random:digits_swin", "--runs", str(runs)]) == 0
    folder = only_run(runs)
    assert altered(folder, record_of(folder)) is None
    board = make(Request((str(runs),)))
    assert board.left_out == ()
    (row,) = typed_rows(board)
    # embed_dim 32, depths 2 2 2 2: counted by timm itself
    from timm import create_model

    known = find_architecture("digits_swin")
    model = create_model(known.name, num_classes=0, **known.arguments)
    assert row["parameters_millions"] == round(sum(one.numel() for one in model.parameters()) / 1e6, 1)
    assert str(row["reproduce"]).startswith("mimbench transfer digits --encoder random:digits_swin --runs ")
    assert " data.root=" in str(row["reproduce"])


@pytest.mark.parametrize(
    ("fields", "contradiction"),
    [
        ({"seed": 4}, "its contents make digits-digits_finetune-"),
        ({"data": factory.data("9 images, content beef").model_dump()}, "its contents make digits-"),
        ({"encoder": factory.encoder("simmim", architecture=WIDER).model_dump()}, "its contents make digits-"),
        ({"metrics": {"top1": {"last": 99.0, "best": 99.0, "best_epoch": 20}}}, "99.0 in the record, 90.0 at the end"),
    ],
)
def test_a_record_edited_by_hand_is_left_out(tmp_path: Path, fields: dict[str, object], contradiction: str) -> None:
    folder = factory.write(tmp_path, factory.transfer(top1=90.0), factory.score_lines(90.0, 9.0))
    assert reasons(tmp_path) == []
    path = folder / "record.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))
    (reason,) = reasons(tmp_path)
    assert reason.startswith("altered record: ")
    assert contradiction in reason


def top1(last: float, best: float) -> dict[str, MetricValue]:
    return {"top1": MetricValue(last=last, best=best, best_epoch=20)}


IMPOSSIBLE: dict[str, tuple[dict[str, Any], str]] = {
    "below the range": ({"metrics": top1(-5.0, 50.0)}, "top1 is -5.0, and lies between 0 and 100"),
    "above the range": ({"metrics": top1(101.0, 101.0)}, "top1 is 101.0, and lies between 0 and 100"),
    "far above the range": ({"metrics": top1(1e9, 1e9)}, "top1 is 1000000000.0, and lies between 0 and 100"),
    "best above the range": ({"metrics": top1(90.0, 120.0)}, "top1 is 120.0, and lies between 0 and 100"),
    "best below last": ({"metrics": top1(90.0, 80.0)}, "top1 is 90.0 after the last epoch, 80.0 after the best"),
    "best epoch after the end": (
        {"metrics": {"top1": MetricValue(last=90.0, best=90.0, best_epoch=999)}},
        "the best epoch of top1 is 999 of 20",
    ),
    "another image size than its recipe's": (
        {"recipe": factory.recipe().model_copy(update={"resolved": {"image_size_px": 32, "training": {"epochs": 20}}})},
        "its images have 64 px, by its recipe 32",
    ),
    "no steps": ({"steps": 0}, "its log ends at 240"),
    "fewer steps": ({"steps": 239}, "it took 239 steps, and its log ends at 240"),
    "skipped beyond the end": ({"skipped_steps": (3, 240)}, "step 240 was skipped of 240 steps"),
    "random weights of a parent": (
        {"encoder": factory.encoder("scratch"), "parents": ("pretrain-1",)},
        "its encoder is said to be random, and came from a checkpoint",
    ),
    "random weights with a digest": (
        {"encoder": factory.encoder("scratch", sha256="ab" * 32)},
        "its encoder is said to be random, and came from a checkpoint",
    ),
    "random weights that were loaded": (
        {"encoder": factory.encoder("scratch"), "load_report": factory.loaded()},
        "its encoder is said to be random, and 97 tensors were loaded",
    ),
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_a_record_that_cannot_be_is_left_out(tmp_path: Path, name: str) -> None:
    fields, contradiction = IMPOSSIBLE[name]
    record = factory.transfer(**fields)
    factory.write(tmp_path, record, factory.last_lines(record.model_copy(update={"steps": 240})))
    (reason,) = reasons(tmp_path)
    assert reason.startswith("altered record: ")
    assert contradiction in reason


@pytest.mark.parametrize(
    ("loss", "lines", "contradiction"),
    [
        (
            0.25,
            [{"step": 930, "epoch": 30.0, "masked_loss": 0.475}],
            "masked_loss is 0.25 in the record, 0.475 at the end",
        ),
        (-1.0, [], "masked_loss is -1.0, and is never negative"),
        (0.475, [{"step": 930, "epoch": 30.0, "masked_loss": 0.475}], None),
        (0.475, [], None),  # the log is only lost: what trained on the encoder proves that it was made
    ],
)
def test_a_pretraining_whose_loss_was_edited_is_left_out(
    tmp_path: Path, loss: float, lines: list[dict[str, float]], contradiction: str | None
) -> None:
    factory.write(tmp_path, factory.pretrain(metrics={"masked_loss": MetricValue(last=loss)}), lines)
    found = reasons(tmp_path)
    assert [contradiction in reason for reason in found if contradiction] == ([True] if contradiction else [])
    assert bool(found) == bool(contradiction)


def test_a_pretraining_s_recipe_that_is_not_what_its_digest_says_is_left_out(tmp_path: Path) -> None:
    recipe = factory.recipe("digits_simmim").model_copy(update={"beside_digest": ("data.root",)})
    factory.write(tmp_path, factory.pretrain(recipe=recipe))
    assert "the recipe's fields make" in reasons(tmp_path)[0]


LOGS: dict[str, tuple[list[dict[str, float]] | None, str]] = {
    "deleted": ([], "it has no log (metrics.jsonl)"),
    "without the metric": ([{"step": 240, "epoch": 20.0, "loss": 0.1}], "nothing proves its top1"),
    "of other metrics": ([{"step": 240, "epoch": 20.0, "top5": 99.25}], "nothing proves its top1"),
    "cut": (factory.score_lines(90.0, 9.0)[:-2], "at the end of metrics.jsonl"),
    "cut before the end": (
        [{"step": 120, "epoch": 10.0, "top1": 90.0}],
        "it took 240 steps, and its log ends at 120",
    ),
    "of another plan": (
        [{"step": 240, "epoch": 20.0, "total_steps": 480, "top1": 90.0}],
        "it took 240 steps of 480 that its log says were planned",
    ),
    "of fewer epochs": (
        [{"step": 240, "epoch": 1.0, "top1": 90.0}],
        "its recipe plans 20 epochs, its log ends after 1",
    ),
}


@pytest.mark.parametrize("name", LOGS)
def test_a_record_is_left_out_whose_log_does_not_prove_it(tmp_path: Path, name: str) -> None:
    lines, contradiction = LOGS[name]
    factory.write(tmp_path, factory.transfer(top1=90.0), lines)
    (reason,) = reasons(tmp_path)
    assert contradiction in reason


def test_a_score_raised_in_record_and_log_is_found_by_the_predictions(tmp_path: Path) -> None:
    folder = factory.write(tmp_path, factory.transfer())
    factory.predict(folder, {"cat": 3})
    assert reasons(tmp_path) == []
    for name in ("record.json", "metrics.jsonl"):
        text = (folder / name).read_text()
        assert "90.0" in text
        (folder / name).write_text(text.replace("90.0", "97.0"))
    assert reasons(tmp_path) == ["altered record: top1 is 97.0 in the record, 90.0 by predictions.csv"]


@pytest.mark.parametrize(
    ("task", "scores", "table"),
    [
        (
            "digit_scenes",  # 3 of 4 and 1 of 2 pixels are right; the third class is only predicted, twice
            {"mIoU": 100 * (3 / 4 + 1 / 2 + 0) / 3, "mAcc": 100 * (3 / 4 + 1 / 2) / 2, "aAcc": 100 * 4 / 6},
            "class,iou_percent,accuracy_percent,pixels\na,75.0,75.0,4\nb,50.0,50.0,2\nc,0.0,,0\n",
        ),
        (
            "digit_boxes",
            {"box_ap": 20.0, "mask_ap": 15.0},
            "class,box_ap_percent,mask_ap_percent,objects\na,30.0,15.0,4\nb,10.0,,2\nc,,,0\n",
        ),
    ],
)
def test_scores_of_dense_tasks_are_computed_again_from_their_classes(
    tmp_path: Path, task: str, scores: dict[str, float], table: str
) -> None:
    for raised in (0.0, 0.5):
        for name in scores:
            metrics = {key: MetricValue(last=value + raised * (key == name)) for key, value in scores.items()}
            record = factory.transfer(task=factory.TaskUse(name=task, version=2), metrics=metrics)
            folder = factory.write(tmp_path / f"{name}{raised}", record)
            (folder / "classes.csv").write_text(table)
            found = reasons(tmp_path / f"{name}{raised}")
            assert [f"{name} is " in one and "by classes.csv" in one for one in found] == ([True] if raised else [])


def test_a_recipe_that_is_not_what_its_digest_says_is_left_out(transfer_command: list[str], tmp_path: Path) -> None:
    command = [*transfer_command, "--encoder", "random:digits_swin", "--runs", str(tmp_path / "runs")]
    assert mimbench.main(command) == 0
    folder = only_run(tmp_path / "runs")
    document = json.loads((folder / "record.json").read_text())
    document["recipe"]["resolved"]["training"]["weight_decay"] = 0.123
    (folder / "record.json").write_text(json.dumps(document))
    assert "the recipe's fields make" in reasons(tmp_path / "runs")[0]
    document["recipe"]["beside_digest"] = None  # as records of earlier versions
    (folder / "record.json").write_text(json.dumps(document))
    assert reasons(tmp_path / "runs") == []


def test_a_recipe_s_digest_follows_from_its_fields() -> None:
    tried = set()
    for adapter in map(adapter_for, {task.kind: task for task in TASKS.values()}.values()):
        for name in recipe_names("transfer"):
            with contextlib.suppress(UserError):  # a recipe of another kind of task
                recipe = load_recipe(adapter.recipe, "transfer", name, []).config
                kept = without_fields(recipe.model_dump(mode="json"), recipe.fields_beside_identity())
                assert digest_of(kept) == recipe.identity_digest()
                tried.add(name)
    assert tried == set(recipe_names("transfer"))


def test_a_record_of_the_first_schema_version_is_read_as_what_it_was(tmp_path: Path) -> None:
    record = factory.transfer()
    old = json.loads(record.model_dump_json()) | {"schema_version": 1}
    del old["processes"], old["load_report"]["parameters"]
    (factory.write(tmp_path, record) / "record.json").write_text(json.dumps(old))
    (row,) = collected(tmp_path).rows
    (read,) = row.records
    assert read.schema_version == 4
    assert read.processes == 1
    assert read == record


@pytest.mark.parametrize("version", [0, -1, [1], {"a": 1}, "1", None, 1.5])
def test_a_schema_version_that_never_was_is_damage(tmp_path: Path, version: object) -> None:
    (tmp_path / "odd").mkdir()
    odd = json.loads(factory.transfer().model_dump_json()) | {"schema_version": version}
    (tmp_path / "odd/record.json").write_text(json.dumps(odd))
    assert reasons(tmp_path) == ["damaged: schema_version: Input should be 4"]


def test_a_score_that_is_no_number_is_damage(tmp_path: Path) -> None:
    text = factory.transfer(top1=91.0).model_dump_json().replace("91.0", "NaN")
    (tmp_path / "nan").mkdir()
    (tmp_path / "nan/record.json").write_text(text)
    assert reasons(tmp_path) == ["damaged: metrics.top1.last: Input should be a finite number"]


def test_every_metric_has_a_range() -> None:
    for metric in {metric for task in TASKS.values() for metric in task.metrics}:
        low, high = metric.bounds
        assert low < high
