"""Forgeries that agree over several files, or with what is left of them: refused, or marked on the row."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.config import digest_of, without_fields
from benchmarks.history import TrainingData, TrainingStage
from benchmarks.runs.record import MetricValue
from benchmarks.runs.stages import own_stage
from reports.leaderboard.board import Request, make
from reports.tables.csv_json_parquet import typed_rows
from tests.reports import factory

HOUR = 3600.0
GPUS = factory.ENVIRONMENT.model_copy(update={"device": "NVIDIA H100 80GB HBM3"})
LABELLED = TrainingStage(method="supervised", data=TrainingData(name="ImageNet-22K", labels="labels"), epochs=90)
STAGE = factory.recipe("p").model_copy(update={"resolved": {"training": {"epochs": 5, "batch_size": 10}}})
WHOLE = {"beside_digest": ("training.workers",), "placement": ()}


def marks(runs: Path, baseline: str | None = None) -> dict[str, str]:
    found = typed_rows(make(Request((str(runs),), baseline)))
    return {str(row["encoder"]): str(row["mark"]) for row in found if row.get("mark")}


def edit(folder: Path, change: Callable[[dict[str, Any]], object], name: str = "record.json") -> None:
    document = json.loads((folder / name).read_text())
    change(document)
    (folder / name).write_text(json.dumps(document))


@pytest.mark.parametrize("baseline", ["supervised", None])
def test_a_score_raised_everywhere_without_its_predictions_is_marked(tmp_path: Path, baseline: str | None) -> None:
    folders = {label: factory.write(tmp_path, factory.transfer(label)) for label in ("supervised", "mae", "simmim")}
    for folder in folders.values():
        factory.predict(folder, {"cat": 3})
    assert marks(tmp_path, baseline) == {}
    forged = folders["simmim"]
    (forged / "predictions.csv").unlink()
    for name in ("record.json", "metrics.jsonl"):
        (forged / name).write_text((forged / name).read_text().replace("90.0", "99.0"))
    held = "baseline has" if baseline else "most rows have"
    assert marks(tmp_path, baseline) == {"simmim": f"no table gives its score again, as {held} (seed 0)"}
    assert factory.reasons(tmp_path) == []


def test_a_best_score_that_is_not_in_the_log_is_marked(tmp_path: Path) -> None:
    folder = factory.write(tmp_path, factory.transfer(), factory.score_lines(90.0, 9.0))
    assert marks(tmp_path) == {}
    edit(folder, lambda record: record["metrics"]["top1"].update(best=99.5))
    assert marks(tmp_path) == {"simmim": "the best top1, 99.5, is in no evaluation of its log (seed 0)"}
    edit(folder, lambda record: record["metrics"]["top1"].update(best=90.0))  # as the log has it, among longer numbers
    assert marks(tmp_path) == {}


def test_a_load_report_of_one_tensor_is_no_proof(tmp_path: Path) -> None:
    factory.write(tmp_path, factory.transfer(load_report=factory.loaded(loaded=1)))
    assert factory.reasons(tmp_path) == ["incomplete load report: 100.00 % loaded, 1 of 97 tensors"]


@pytest.mark.parametrize(("seconds", "believed"), [(330.0, True), (240.0, True), (180.0, False), (1.0, False)])
@pytest.mark.parametrize("kind", ["pretrain", "transfer"])
def test_hours_fewer_than_the_log_has_are_found(tmp_path: Path, kind: str, seconds: float, believed: bool) -> None:
    """The log has 180 of 240 steps of 10 images between its lines, 7.5 images a second: 240 s."""
    fields: dict[str, Any] = {"recipe": STAGE, "seconds": seconds, "steps": 240, "images_per_second": 7.5}
    record = factory.pretrain(**fields) if kind == "pretrain" else factory.transfer(**fields)
    lines = [{"step": step, "epoch": step / 48, "images_per_second": 7.5} for step in (60, 120, 180, 240)]
    factory.write(tmp_path, record, [*lines, *factory.last_lines(record)])
    words = f"altered record: it took {seconds:.4g} seconds, and its steps 240 by the speeds in metrics.jsonl"
    assert factory.reasons(tmp_path) == ([] if believed else [words])


def parent(root: Path) -> TrainingStage:
    """Write a pretraining of 2 h on 8 GPUs, and return it as an honest history has it."""
    record = factory.pretrain(recipe=STAGE, training_images=100, seconds=2 * HOUR, environment=GPUS, processes=8)
    factory.write(root, record)
    return own_stage(record)


HISTORIES: dict[str, tuple[Callable[[TrainingStage], tuple[TrainingStage, ...]], str]] = {
    "honest": (lambda stage: (stage,), ""),
    "written before its run had ended": (lambda stage: (stage.model_copy(update={"seconds": 1.99 * HOUR}),), ""),
    "of half of its epochs": (lambda stage: (stage.model_copy(update={"seconds": HOUR, "epochs": 2.5}),), ""),
    "of fewer hours": (
        lambda stage: (stage.model_copy(update={"seconds": HOUR}),),
        "history is not what the record of ",
    ),
    "of many more hours": (
        lambda stage: (stage.model_copy(update={"seconds": 4 * HOUR}),),
        "history is not what the record of ",
    ),
    "of another seed": (
        lambda stage: (stage.model_copy(update={"seed": 1}),),
        "history is not what the record of ",
    ),
    "of another recipe": (
        lambda stage: (stage.model_copy(update={"recipe_digest": factory.sha("other")}),),
        "history is not what the record of ",
    ),
    "of an earlier version, without seeds": (
        lambda stage: (stage.model_copy(update={"seed": None, "recipe_digest": None}),),
        "",
    ),
    "of another run": (lambda stage: (stage.model_copy(update={"run_id": "other"}),), "history does not name "),
    "of no run": (lambda stage: (stage.model_copy(update={"run_id": None}),), "history does not name "),
    "of labels": (
        lambda stage: (LABELLED, stage),
        "said to be self-supervised, and its history has labels (supervised)",
    ),
}


@pytest.mark.parametrize("name", HISTORIES)
def test_a_history_that_the_runs_at_hand_contradict_is_marked(tmp_path: Path, name: str) -> None:
    change, mark = HISTORIES[name]
    use = factory.encoder("simmim", epochs=None, history=change(parent(tmp_path)))
    factory.write(tmp_path, factory.transfer(encoder=use))
    found = marks(tmp_path).get("simmim", "")
    assert found.startswith(mark)
    assert bool(found) == bool(mark)


def test_a_recipe_that_is_not_what_others_of_its_digest_ran_is_marked(tmp_path: Path) -> None:
    """A record of an earlier version does not say what its digest is of; beside one that does, it is known."""
    resolved: dict[str, Any] = {"training": {"epochs": 20, "lr": 0.1, "workers": 2}}
    digest = digest_of(without_fields(resolved, WHOLE["beside_digest"]))
    honest = factory.recipe().model_copy(update={"resolved": resolved, "digest": digest, **WHOLE})
    factory.write(tmp_path, factory.transfer("supervised", recipe=honest))
    earlier = {**resolved, "training": {**resolved["training"], "workers": 4}}
    older = honest.model_copy(update={"beside_digest": None, "resolved": earlier})
    factory.write(tmp_path, factory.transfer("mae", recipe=older))
    assert marks(tmp_path, "supervised") == {}
    tuned = {**resolved, "training": {**resolved["training"], "lr": 0.3}}
    factory.write(tmp_path, factory.transfer("simmim", recipe=older.model_copy(update={"resolved": tuned})))
    assert marks(tmp_path, "supervised") == {"simmim": "its recipe is not that of its digest: training.lr (seed 0)"}


def test_classes_that_are_left_out_of_the_mean_are_marked(tmp_path: Path) -> None:
    table = "class,iou_percent,accuracy_percent,pixels\na,75.0,75.0,4\nb,50.0,50.0,2\n"
    for label, text in (("supervised", table), ("mae", table), ("simmim", table.replace("b,50.0,50.0,2\n", ""))):
        score = 62.5 if label != "simmim" else 75.0
        metrics = {"mIoU": MetricValue(last=score), "aAcc": MetricValue(last=100 * 4 / 6 if score < 75 else score)}
        task = factory.TaskUse(name="digit_scenes", version=2)
        (factory.write(tmp_path, factory.transfer(label, task=task, metrics=metrics)) / "classes.csv").write_text(text)
    found = marks(tmp_path, "supervised")
    assert list(found) == ["simmim"]
    assert "of other test images: 1 class with pixels (" in found["simmim"]
    assert "baseline 2 classes with pixels (" in found["simmim"]


@pytest.mark.parametrize(
    ("fields", "mark"),
    [
        ({"epochs": 1}, "said to be of 1 epoch, and its history has 5"),
        ({"method": "supervised"}, "said to be of method supervised, and its history has simmim"),
        ({"epochs": 5}, ""),
    ],
)
def test_an_encoder_that_is_not_what_its_history_says_is_marked(
    tmp_path: Path, fields: dict[str, Any], mark: str
) -> None:
    known = {"epochs": 5, **fields}
    use = factory.encoder("ours", history=(parent(tmp_path),), sha256=factory.sha("simmim"), **known)
    factory.write(tmp_path, factory.transfer(encoder=use))
    assert marks(tmp_path).get("ours", "") == mark


@pytest.mark.parametrize("field", [{"images_per_second": 1e6}, {"seconds_per_step": 1e-6}])
def test_a_speed_that_the_log_does_not_have_is_found(tmp_path: Path, field: dict[str, float]) -> None:
    speeds = {"images_per_second": 7.5, "seconds_per_step": 4 / 3, **field}
    record = factory.transfer(recipe=STAGE, seconds=330.0, steps=240, **speeds)
    lines = [{"step": step, "epoch": step / 48, "images_per_second": 7.5} for step in (60, 120, 180, 240)]
    factory.write(tmp_path, record, [*lines, *factory.last_lines(record)])
    (reason,) = factory.reasons(tmp_path)
    assert "seconds, and its steps 240 by the speeds in metrics.jsonl" in reason


def test_five_best_classes_hold_less_than_the_best_nowhere(tmp_path: Path) -> None:
    values = {"top1": MetricValue(last=90.0), "top5": MetricValue(last=89.0)}
    factory.write(tmp_path, factory.transfer(metrics=values))
    assert factory.reasons(tmp_path) == ["altered record: top5 is 89.0, less than its top1 of 90.0"]


FROZEN = factory.recipe("digits_knn").model_copy(update={"resolved": {"protocol": "knn"}})


@pytest.mark.parametrize(("best", "marked"), [(None, False), (90.0, False), (99.0, True)])
def test_a_best_score_without_a_training_is_marked(tmp_path: Path, best: float | None, marked: bool) -> None:
    folder = factory.write(tmp_path, factory.transfer(recipe=FROZEN))
    factory.predict(folder, {"cat": 3})
    edit(folder, lambda record: record["metrics"].update(top1={"last": 90.0, "best": best}, top5={"last": 99.0}))
    (folder / "metrics.jsonl").unlink()
    mark = {"simmim": "the best top1, 99, is in no evaluation of its log (seed 0)"}
    assert marks(tmp_path) == (mark if marked else {})
    assert factory.reasons(tmp_path) == []


@pytest.mark.parametrize(("top5", "believed"), [(97.0, True), (99.0, False)])
def test_draws_of_few_shots_give_both_scores_again(tmp_path: Path, top5: float, believed: bool) -> None:
    values = {"top1": MetricValue(last=80.0), "top5": MetricValue(last=top5)}
    folder = factory.write(tmp_path, factory.transfer(recipe=FROZEN, metrics=values))
    (folder / "metrics.jsonl").unlink()
    lines = ("per_class,draw,images,top1,top5,note", "1,0,10,50,60,", "5,0,50,79,96,score", "5,1,50,81,98,score")
    (folder / "shots.csv").write_text("\n".join(lines))
    assert bool(factory.reasons(tmp_path)) is not believed


def test_random_weights_with_epochs_and_more_than_all_tensors_are_refused(tmp_path: Path) -> None:
    factory.write(tmp_path, factory.transfer(encoder=factory.encoder("scratch", epochs=1)))
    factory.write(tmp_path, factory.transfer(load_report=factory.loaded(coverage_percent=105.0)))
    assert sorted(factory.reasons(tmp_path)) == [
        "altered record: its encoder is said to be random, and to have had 1 epoch",
        "impossible load report: 105.00 % loaded",
    ]


@pytest.mark.parametrize(("head", "marked"), [("path,classes,difficult,a,b", False), ("path,truth,a,b", True)])
def test_predictions_of_images_with_several_classes_are_no_damage(tmp_path: Path, head: str, marked: bool) -> None:
    task, recipe = factory.TaskUse(name="digit_labels", version=1), FROZEN
    metrics = {"mAP11": MetricValue(last=75.0), "mAP": MetricValue(last=70.0)}
    folder = factory.write(tmp_path, factory.transfer(task=task, recipe=recipe, metrics=metrics))
    (folder / "metrics.jsonl").unlink()
    (folder / "classes.csv").write_text("class,ap11_percent,ap_percent,test_images\na,80,75,4\nb,70,65,2\n")
    (folder / "predictions.csv").write_text(f"{head}\n" + ",".join(["x"] * (head.count(",") + 1)) + "\n")
    assert factory.reasons(tmp_path) == []
    assert marks(tmp_path) == ({"simmim": "predictions.csv cannot be read (seed 0)"} if marked else {})
