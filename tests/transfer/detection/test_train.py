"""Whole detection runs of a few steps: scores, resume, several processes, export, and the mistakes."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import pytest
from PIL import Image
from safetensors.torch import load_file

import mimbench
from benchmarks.encoders import read_manifest
from tests.processes import finished, launch
from tests.runs import assert_same_training, last_checkpoint, numbers_of, only_run, record_of, start, wait_for_step
from tests.transfer.detection.detectors import require_detectron2
from transfer.detection.data.recipe import CocoData

ENCODER = ["--encoder", "random:digits_swin"]


@pytest.fixture
def small_boxes(digit_boxes: CocoData, tmp_path: Path) -> Path:
    """12 training and 4 test pictures that a test may damage."""
    assert digit_boxes.root is not None
    root, whole = tmp_path / "small_boxes", Path(digit_boxes.root)
    for split, count in (("train", 12), ("test", 4)):
        name = Path("annotations") / f"instances_{split}.json"
        told = json.loads((whole / name).read_text())
        told["images"] = told["images"][:count]
        kept = {image["id"] for image in told["images"]}
        told["annotations"] = [each for each in told["annotations"] if each["image_id"] in kept]
        (root / split).mkdir(parents=True)
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(json.dumps(told))
        for image in told["images"]:
            shutil.copy(whole / split / image["file_name"], root / split)
    return root


@pytest.fixture
def detect_command(small_boxes: Path) -> list[str]:
    """A real training of 6 steps; add --encoder and --runs."""
    return [
        "transfer",
        "digit_boxes",
        f"data.root={small_boxes}",
        "drop_path_rate=0.1",
        "box_head_channels=32",
        "testing.score_threshold=0.0",
        "training.steps=6",
        "training.batch_size=4",
        "training.schedule={kind: multistep, lr: 1e-3, milestone_steps: [5], warmup_steps: 2}",
        "training.log_every_steps=2",
        "training.checkpoint_every_steps=2",
        "evaluate_every_steps=4",
    ]


def detect(command: list[str], runs: Path, *more: str) -> Path:
    assert mimbench.main([*command, "--runs", str(runs), *more]) == 0
    return only_run(runs)


def test_from_a_simmim_run_to_the_next_transfer(
    detect_command: list[str], pretrain_command: list[str], tmp_path: Path
) -> None:
    assert mimbench.main([*pretrain_command, "--runs", str(tmp_path / "pretrained")]) == 0
    simmim = only_run(tmp_path / "pretrained")
    folder = detect([*detect_command, "--encoder", str(simmim)], tmp_path / "runs")
    record = record_of(folder)
    assert record.task is not None
    assert (record.task.name, record.status, record.data.images) == ("digit_boxes", "completed", 16)
    assert record.load_report is not None
    assert (record.load_report.coverage_percent, record.load_report.complete) == (100, True)
    assert {"box_ap", "mask_ap", "box_ap50", "mask_ap_small"} <= record.metrics.keys()
    assert [line["step"] for line in numbers_of(folder) if "box_ap" in line] == [4, 6], (
        "every fourth step, and the last"
    )

    manifest = read_manifest(folder / "encoder")
    assert (manifest.init_stage, manifest.image_size_px) == ("fine-tuned", 64)
    trained, exported = last_checkpoint(folder).part("model"), load_file(folder / "encoder" / "encoder.safetensors")
    prefix = "maps.encoder.backbone."
    assert exported.keys() == {name.removeprefix(prefix) for name in trained if name.startswith(prefix)}
    assert all(tensor.equal(trained[prefix + name]) for name, tensor in exported.items())
    again = detect([*detect_command, "--encoder", str(folder)], tmp_path / "again", "training.steps=5")
    assert record_of(again).parents[-1] == folder.name


def test_scores_are_pycocotools_own_of_the_written_predictions(
    detect_command: list[str], small_boxes: Path, tmp_path: Path
) -> None:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    folder = detect([*detect_command, *ENCODER], tmp_path / "runs", "testing.save_predictions=true")
    truth = COCO(str(small_boxes / "annotations" / "instances_test.json"))
    for kind, name in (("bbox", "box"), ("segm", "mask")):
        evaluation = COCOeval(truth, truth.loadRes(str(folder / "predictions" / f"{name}.json")), kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        metrics = record_of(folder).metrics
        assert metrics[f"{name}_ap"].last == pytest.approx(100 * evaluation.stats[0], abs=1e-9)
        assert metrics[f"{name}_ap50"].last == pytest.approx(100 * evaluation.stats[1], abs=1e-9)
    rows = json.loads((folder / "predictions" / "box.json").read_text())
    assert {row["image_id"] for row in rows} == {1, 2, 3, 4}
    assert {row["category_id"] for row in rows} <= set(range(1, 11))
    assert (folder / "classes.csv").read_text().startswith("class,box_ap_percent,mask_ap_percent,objects\ndigit 0,")


def test_a_stopped_training_continues_to_the_same_bits(detect_command: list[str], tmp_path: Path) -> None:
    command = [*detect_command, *ENCODER]
    undisturbed = detect(command, tmp_path / "undisturbed", "training.workers=2")
    runs = tmp_path / "disturbed"
    process = start([*command, "--runs", str(runs)])
    wait_for_step(runs, 2)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == mimbench.INTERRUPTED, output
    folder = detect(command, runs)
    assert record_of(folder).attempts == 2
    assert_same_training(folder, undisturbed)
    assert record_of(folder).metrics == record_of(undisturbed).metrics
    assert (folder / "classes.csv").read_bytes() == (undisturbed / "classes.csv").read_bytes()


def test_two_processes_find_the_same_and_search_each_image_once(detect_command: list[str], tmp_path: Path) -> None:
    """Each process draws its own anchors and proposals, so that losses are near, not equal. A rate of nearly nothing
    leaves the weights as they are: then all that is found must be the same."""
    still = "training.schedule={kind: multistep, lr: 1e-30, milestone_steps: [1], warmup_steps: 0}"
    command = [*detect_command, *ENCODER, "drop_path_rate=0.0", still, "training.steps=2", "training.workers=2"]
    command.append("testing.save_predictions=true")
    ranks = finished(launch([*command, "--runs", str(tmp_path / "two")]))
    assert [code for code, _, _ in ranks] == [0, 0], ranks
    one, two = detect(command, tmp_path / "one"), only_run(tmp_path / "two")
    for name in ("classes.csv", "predictions/box.json", "predictions/mask.json"):
        assert (one / name).read_bytes() == (two / name).read_bytes()
    assert record_of(one).metrics == record_of(two).metrics
    losses = [[line["loss"] for line in numbers_of(run) if "loss" in line] for run in (one, two)]
    assert losses[0] == pytest.approx(losses[1], rel=0.1)


def test_detectron2_trains_a_cascade_and_continues_to_the_same_bits(detect_command: list[str], tmp_path: Path) -> None:
    require_detectron2()
    command = [*detect_command, *ENCODER, "engine=detectron2", "heads=cascade_mask_rcnn"]
    undisturbed = detect(command, tmp_path / "undisturbed")
    runs = tmp_path / "disturbed"
    process = start([*command, "--runs", str(runs)])
    wait_for_step(runs, 2)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == mimbench.INTERRUPTED, output
    folder = detect(command, runs)
    assert_same_training(folder, undisturbed)
    assert record_of(folder).metrics == record_of(undisturbed).metrics


def test_two_processes_train_on_detectron2(detect_command: list[str], tmp_path: Path) -> None:
    require_detectron2()
    command = [
        *detect_command,
        *ENCODER,
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
        told = json.loads(path.read_text())
        for each in told["annotations"]:
            del each["segmentation"]
        path.write_text(json.dumps(told))
    folder = detect([*detect_command, *ENCODER], tmp_path / "runs", "training.steps=5")
    assert {name.split("_")[0] for name in record_of(folder).metrics} == {"box"}
    assert not any("mask" in name for name in last_checkpoint(folder).part("model"))


def test_a_plain_vit_gets_a_pyramid(detect_command: list[str], tmp_path: Path) -> None:
    more = ["training.steps=5", "layer_decay=0.65"]
    folder = detect([*detect_command, "--encoder", "random:vit_tiny_patch16_224"], tmp_path / "runs", *more)
    assert any(name.startswith("maps.pyramid.") for name in last_checkpoint(folder).part("model"))
    assert load_file(folder / "encoder" / "encoder.safetensors")["pos_embed"].shape == (1, 1 + 4 * 4, 192)


def test_unusable_images_are_named_skipped_and_counted(
    detect_command: list[str], small_boxes: Path, tmp_path: Path
) -> None:
    broken, odd = small_boxes / "train" / "0002.png", small_boxes / "test" / "0003.png"
    broken.write_bytes(broken.read_bytes()[:200])
    Image.new("RGB", (50, 40)).save(odd)
    folder = detect([*detect_command, *ENCODER], tmp_path / "runs")
    named = record_of(folder).data.unreadable
    assert sorted(text.split(":")[0] for text in named) == sorted([str(broken), str(odd)])
    assert mimbench.main([*detect_command, *ENCODER, "--runs", str(tmp_path / "strict"), "data.max_unreadable=0"]) == 1
    assert record_of(only_run(tmp_path / "strict")).status == "failed"


def test_another_number_of_categories_is_refused(
    small_boxes: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    places = [f"data.{kind}_annotations=annotations/instances_{kind}.json" for kind in ("train", "test")]
    folders = [f"data.{kind}_images={kind}" for kind in ("train", "test")]
    command = ["transfer", "coco", *ENCODER, f"data.root={small_boxes}", *places, *folders, "--runs", str(tmp_path)]
    assert mimbench.main(command) == mimbench.WRONG
    told = capfd.readouterr().err
    assert "data.train_annotations = 10 categories" in told
    assert "coco_format" in told


@pytest.mark.slow
def test_the_default_recipe_learns(digit_boxes: CocoData, tmp_path: Path) -> None:
    command = ["transfer", "digit_boxes", *ENCODER, f"data.root={digit_boxes.root}"]
    scores = record_of(detect(command, tmp_path / "runs")).metrics
    # Boxes at random have an AP50 of well below 1 %.
    assert scores["box_ap50"].last > 15
    assert scores["mask_ap50"].last > 15
