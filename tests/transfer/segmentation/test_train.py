"""Whole segmentation runs of a few steps: scores, resume, several processes, export, and the mistakes."""

from __future__ import annotations

import csv
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from sklearn.metrics import confusion_matrix

import mimbench
from benchmarks.encoders import read_manifest
from tests.processes import finished, launch
from tests.runs import assert_same_training, last_checkpoint, numbers_of, only_run, record_of, start, wait_for_step

ENCODER = ["--encoder", "random:digits_swin"]


def segment(command: list[str], runs: Path, *more: str) -> Path:
    assert mimbench.main([*command, "--runs", str(runs), *more]) == 0
    return only_run(runs)


@pytest.fixture
def simmim_run(pretrain_command: list[str], tmp_path: Path) -> Path:
    assert mimbench.main([*pretrain_command, "--runs", str(tmp_path / "pretrained")]) == 0
    return only_run(tmp_path / "pretrained")


def test_from_a_simmim_run_to_the_next_transfer(segment_command: list[str], simmim_run: Path, tmp_path: Path) -> None:
    folder = segment([*segment_command, "--encoder", str(simmim_run)], tmp_path / "runs", "testing.multi_scale=[0.75]")
    record = record_of(folder)
    assert record.task is not None
    assert (record.task.name, record.status, record.data.images) == ("digit_scenes", "completed", 16)
    assert record.load_report is not None
    assert (record.load_report.coverage_percent, record.load_report.complete) == (100, True)
    assert {each.mode for each in record.load_report.resized} == {"geometric-cubic"}
    assert record.metrics.keys() == {"mIoU", "mAcc", "aAcc", "mIoU_ms"}
    assert [line["step"] for line in numbers_of(folder) if "mIoU" in line] == [4, 6], "every fourth step, and the last"

    manifest = read_manifest(folder / "encoder")
    assert (manifest.init_stage, manifest.image_size_px) == ("fine-tuned", 64)
    trained, exported = last_checkpoint(folder).part("model"), load_file(folder / "encoder" / "encoder.safetensors")
    prefix = "backbone.encoder.backbone."
    assert exported.keys() == {name.removeprefix(prefix) for name in trained if name.startswith(prefix)}
    assert all(tensor.equal(trained[prefix + name]) for name, tensor in exported.items())
    again = segment([*segment_command, "--encoder", str(folder)], tmp_path / "again", "training.steps=3")
    assert record_of(again).parents[-1] == folder.name


def test_scores_are_those_of_the_written_predictions(
    segment_command: list[str], small_scenes: Path, tmp_path: Path
) -> None:
    folder = segment([*segment_command, *ENCODER], tmp_path / "runs", "testing.save_predictions=true")
    truth, predicted = [], []
    for mask in sorted((small_scenes / "annotations" / "validation").iterdir()):
        with Image.open(mask) as one, Image.open(folder / "predictions" / "validation" / mask.name) as other:
            assert one.size == other.size
            truth.append(np.asarray(one).ravel())
            predicted.append(np.asarray(other).ravel())
    labels, found = np.concatenate(truth), np.concatenate(predicted)
    counts = confusion_matrix(labels[labels > 0], found[labels > 0], labels=range(1, 12))
    hits, union = np.diag(counts), counts.sum(0) + counts.sum(1) - np.diag(counts)
    there = union > 0
    metrics = record_of(folder).metrics
    assert metrics["mIoU"].last == pytest.approx(100 * (hits[there] / union[there]).mean())
    assert metrics["aAcc"].last == pytest.approx(100 * hits.sum() / counts.sum())
    with open(folder / "classes.csv") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["pixels"]) for row in rows] == counts.sum(axis=1).tolist()


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, mimbench.INTERRUPTED), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_a_stopped_training_continues_to_the_same_bits(
    segment_command: list[str], tmp_path: Path, number: signal.Signals, code: int
) -> None:
    command = [*segment_command, *ENCODER]
    undisturbed = segment(command, tmp_path / "undisturbed")
    runs = tmp_path / "disturbed"
    process = start([*command, "--runs", str(runs)])
    wait_for_step(runs, 2)
    process.send_signal(number)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == code, output
    folder = segment(command, runs)
    assert record_of(folder).attempts == 2
    assert_same_training(folder, undisturbed)
    assert record_of(folder).metrics == record_of(undisturbed).metrics
    assert (folder / "classes.csv").read_bytes() == (undisturbed / "classes.csv").read_bytes()


def test_loader_processes_change_nothing(segment_command: list[str], tmp_path: Path) -> None:
    command = [*segment_command, *ENCODER]
    alone, helped = segment(command, tmp_path / "alone"), segment(command, tmp_path / "helped", "training.workers=2")
    assert_same_training(alone, helped)


def test_two_processes_train_and_evaluate_each_image_once(segment_command: list[str], tmp_path: Path) -> None:
    """BN sees each process's own half, so that scores are not those of one process; pixels are counted all the same."""
    command = [*segment_command, *ENCODER]
    ranks = finished(launch([*command, "--runs", str(tmp_path / "two")]))
    assert [code for code, _, _ in ranks] == [0, 0], ranks
    one, two = segment(command, tmp_path / "one"), only_run(tmp_path / "two")
    assert record_of(two).status == "completed"
    assert last_checkpoint(two).step == last_checkpoint(one).step == 6
    pixels = [[row["pixels"] for row in csv.DictReader((run / "classes.csv").open())] for run in (one, two)]
    assert pixels[0] == pixels[1]
    first = [next(line for line in numbers_of(run) if "loss" in line) for run in (one, two)]
    assert first[0]["loss"] == pytest.approx(first[1]["loss"], rel=0.1)


def test_a_plain_vit_gets_a_pyramid(segment_command: list[str], tmp_path: Path) -> None:
    more = ["resize_to_px=[64, 64]", "training.steps=3", "layer_decay=0.65"]
    folder = segment([*segment_command, "--encoder", "random:vit_tiny_patch16_224"], tmp_path / "runs", *more)
    names = last_checkpoint(folder).part("model")
    assert any(name.startswith("backbone.pyramid.") for name in names)
    assert load_file(folder / "encoder" / "encoder.safetensors")["pos_embed"].shape == (1, 1 + 4 * 4, 192)


def test_unusable_images_are_named_skipped_and_counted(
    segment_command: list[str], small_scenes: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    broken, odd = (small_scenes / "images" / "training" / f"000{number}.png" for number in (2, 5))
    broken.write_bytes(broken.read_bytes()[:200])
    mask = small_scenes / "annotations" / "training" / odd.name
    Image.new("L", (64, 64), 77).save(mask)
    folder = segment([*segment_command, *ENCODER], tmp_path / "runs")
    named = record_of(folder).data.unreadable
    assert sorted(text.split(":")[0] for text in named) == sorted([str(broken), str(mask)])
    assert "unknown class 77 (0 is ignored, 1 to 11 are the classes)" in capfd.readouterr().err
    assert mimbench.main([*segment_command, *ENCODER, "--runs", str(tmp_path / "strict"), "data.max_unreadable=1"]) == 1
    assert record_of(only_run(tmp_path / "strict")).status == "failed"


def test_test_masks_without_a_class_are_told_from_damaged_ones(
    segment_command: list[str], small_scenes: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    masks = sorted((small_scenes / "annotations" / "validation").iterdir())
    for mask in masks:
        Image.new("L", (64, 64), 0).save(mask)
    masks[0].write_bytes(masks[0].read_bytes()[:20])
    assert mimbench.main([*segment_command, *ENCODER, "--runs", str(tmp_path)]) == mimbench.FAILED
    told = capfd.readouterr().err
    assert "no labelled pixel among 4 test images: 3 masks hold no class" in told
    assert f"1 could not be used:\n    {masks[0]}" in told


def test_an_incomplete_encoder_fails_before_training(
    segment_command: list[str], simmim_run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    weights = load_file(simmim_run / "encoder" / "encoder.safetensors")
    del weights["layers.2.blocks.1.norm2.bias"]
    damaged = tmp_path / "damaged.pth"
    torch.save({"model": {f"encoder.{name}": tensor for name, tensor in weights.items()}}, damaged)
    command = [*segment_command, "--encoder", str(damaged), "--stage", "self-supervised"]
    assert mimbench.main([*command, "--runs", str(tmp_path / "runs")]) == mimbench.FAILED
    assert "missing from the checkpoint: layers.2.blocks.1.norm2.bias" in capfd.readouterr().err
    assert record_of(only_run(tmp_path / "runs")).steps == 0


def test_one_image_per_process_is_refused(
    segment_command: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    command = [*segment_command, *ENCODER, "training.batch_size=1", "--runs", str(tmp_path)]
    assert mimbench.main(command) == mimbench.WRONG
    assert "at least 2 images per process" in capfd.readouterr().err


@pytest.mark.slow
def test_the_default_recipe_learns(scenes: Path, tmp_path: Path) -> None:
    command = ["transfer", "digit_scenes", *ENCODER, f"data.root={scenes}"]
    scores = record_of(segment(command, tmp_path / "runs")).metrics
    # A single class everywhere has an mIoU below 100 / 11 = 9.1 %.
    assert scores["mIoU"].last > 20
