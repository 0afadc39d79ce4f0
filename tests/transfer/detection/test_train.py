"""Whole detection runs of a few steps: scores, resume, several processes, export, and the mistakes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file

import mimbench
from tests.support.processes import finished, launch
from tests.support.runs import (
    assert_same_end,
    last_checkpoint,
    numbers_of,
    only_run,
    record_of,
    stop_after,
    trained,
)
from tests.support.small import RANDOM
from tests.transfer.detection.detectors import require_detectron2


def test_scores_are_pycocotools_own_of_the_written_predictions(
    detect_command: list[str], small_boxes: Path, tmp_path: Path
) -> None:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    folder = trained([*detect_command, *RANDOM], tmp_path / "runs", "testing.save_predictions=true")
    truth = COCO(str(small_boxes / "annotations" / "instances_test.json"))
    for kind, name in (("bbox", "box"), ("segm", "mask")):
        evaluation = COCOeval(truth, truth.loadRes(str(folder / "predictions" / f"{name}.json")), kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        metrics = record_of(folder).metrics
        assert {f"{name}_ap", f"{name}_ap50", f"{name}_ap_small"} <= metrics.keys()
        assert metrics[f"{name}_ap"].last == pytest.approx(100 * evaluation.stats[0], abs=1e-9)
        assert metrics[f"{name}_ap50"].last == pytest.approx(100 * evaluation.stats[1], abs=1e-9)
    rows = json.loads((folder / "predictions" / "box.json").read_text())
    assert {row["image_id"] for row in rows} == {1, 2, 3, 4}
    assert {row["category_id"] for row in rows} <= set(range(1, 11))
    assert (folder / "classes.csv").read_text().startswith("class,box_ap_percent,mask_ap_percent,objects\ndigit 0,")


@pytest.mark.long
def test_two_processes_find_the_same_and_search_each_image_once(detect_command: list[str], tmp_path: Path) -> None:
    """Each process draws its own anchors and proposals, so that losses are near, not equal. A rate of nearly nothing
    leaves the weights as they are: then all that is found must be the same."""
    still = "training.schedule={kind: multistep, lr: 1e-30, milestone_steps: [1], warmup_steps: 0}"
    command = [*detect_command, *RANDOM, "drop_path_rate=0.0", still, "training.steps=2", "training.workers=2"]
    command.append("testing.save_predictions=true")
    ranks = finished(launch([*command, "--runs", str(tmp_path / "two")]))
    assert [code for code, _, _ in ranks] == [0, 0], ranks
    one, two = trained(command, tmp_path / "one"), only_run(tmp_path / "two")
    for name in ("classes.csv", "predictions/box.json", "predictions/mask.json"):
        assert (one / name).read_bytes() == (two / name).read_bytes()
    assert record_of(one).metrics == record_of(two).metrics
    losses = [[line["loss"] for line in numbers_of(run) if "loss" in line] for run in (one, two)]
    assert losses[0] == pytest.approx(losses[1], rel=0.1)


def test_detectron2_trains_a_cascade_and_continues_to_the_same_bits(detect_command: list[str], tmp_path: Path) -> None:
    require_detectron2()
    command = [*detect_command, *RANDOM, "engine=detectron2", "heads=cascade_mask_rcnn"]
    undisturbed, runs = trained(command, tmp_path / "undisturbed"), tmp_path / "disturbed"
    stop_after(command, runs, 2)
    assert_same_end(trained(command, runs), undisturbed, ("classes.csv",))


def test_two_processes_train_on_detectron2(detect_command: list[str], tmp_path: Path) -> None:
    require_detectron2()
    command = [
        *detect_command,
        *RANDOM,
        "engine=detectron2",
        "training.steps=2",
        "training.schedule.milestone_steps=[1]",
    ]
    command.append("training.schedule.warmup_steps=0")
    ranks = finished(launch([*command, "--runs", str(tmp_path / "runs")]))
    assert [code for code, _, _ in ranks] == [0, 0], ranks
    assert record_of(only_run(tmp_path / "runs")).status == "completed"


def test_without_masks_there_are_boxes(detect_command: list[str], small_boxes: Path, tmp_path: Path) -> None:
    for split in ("train", "test"):
        path = small_boxes / "annotations" / f"instances_{split}.json"
        document = json.loads(path.read_text())
        for each in document["annotations"]:
            del each["segmentation"]
        path.write_text(json.dumps(document))
    folder = trained([*detect_command, *RANDOM], tmp_path / "runs", "training.steps=5")
    assert {name.split("_")[0] for name in record_of(folder).metrics} == {"box"}
    assert not any("mask" in name for name in last_checkpoint(folder).part("model"))


def test_a_plain_vit_gets_a_pyramid(detect_command: list[str], tmp_path: Path) -> None:
    more = ["training.steps=5", "layer_decay=0.65"]
    folder = trained([*detect_command, "--encoder", "random:vit_tiny_patch16_224"], tmp_path / "runs", *more)
    assert any(name.startswith("maps.pyramid.") for name in last_checkpoint(folder).part("model"))
    assert load_file(folder / "encoder" / "encoder.safetensors")["pos_embed"].shape == (1, 1 + 4 * 4, 192)


def test_the_map_of_a_swins_three_stages_gets_a_pyramid_and_two_stages_are_refused(
    detect_command: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def command(stages: int) -> list[str]:
        sizes = {"img_size": 64, "embed_dim": 16, "depths": [1] * stages, "num_heads": [1, 2, 4][:stages]}
        architecture = {"name": "swin_tiny_patch4_window7_224", "arguments": {**sizes, "window_size": 4}}
        (tmp_path / "swin.yaml").write_text(json.dumps(architecture))
        return [*detect_command, "--encoder", f"random:{tmp_path / 'swin.yaml'}"]

    assert mimbench.main([*command(2), "--runs", str(tmp_path)]) == mimbench.WRONG
    assert "or whose last is of stride 16 (this one: 4, 8)" in capfd.readouterr().err
    short = ("training.steps=2", "training.schedule.milestone_steps=[1]", "training.schedule.warmup_steps=0")
    folder = trained(command(3), tmp_path / "runs", *short)
    assert any(name.startswith("maps.pyramid.") for name in last_checkpoint(folder).part("model"))


def test_another_number_of_categories_is_refused(
    small_boxes: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    places = [f"data.{kind}_annotations=annotations/instances_{kind}.json" for kind in ("train", "test")]
    folders = [f"data.{kind}_images={kind}" for kind in ("train", "test")]
    command = ["transfer", "coco", *RANDOM, f"data.root={small_boxes}", *places, *folders, "--runs", str(tmp_path)]
    assert mimbench.main(command) == mimbench.WRONG
    printed = capfd.readouterr().err
    assert "data.train_annotations = 10 categories" in printed
    assert "coco_format" in printed


@pytest.mark.long
def test_the_default_recipe_learns(digit_boxes: Path, tmp_path: Path) -> None:
    command = ["transfer", "digit_boxes", *RANDOM, f"data.root={digit_boxes}"]
    scores = record_of(trained(command, tmp_path / "runs")).metrics
    # Boxes at random have an AP50 of well below 1 %.
    assert scores["box_ap50"].last > 15
    assert scores["mask_ap50"].last > 15
