"""Whole segmentation runs of a few steps: scores, resume, several processes, export, and the mistakes."""

from __future__ import annotations

import csv
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file
from sklearn.metrics import confusion_matrix

import mimbench
from tests.support.processes import finished, launch, start
from tests.support.runs import (
    assert_same_end,
    last_checkpoint,
    numbers_of,
    only_run,
    record_of,
    trained,
    wait_for_step,
)
from tests.support.small import RANDOM


def test_several_scales_are_a_score_of_their_own(segment_command: list[str], simmim_run: Path, tmp_path: Path) -> None:
    command = [*segment_command, "--encoder", str(simmim_run), "training.steps=3", "testing.multi_scale=[0.75]"]
    record = record_of(trained(command, tmp_path / "runs"))
    assert record.load_report is not None
    assert {each.mode for each in record.load_report.resized} == {"geometric-cubic"}
    assert record.metrics.keys() == {"mIoU", "mAcc", "aAcc", "mIoU_ms"}


def test_scores_are_those_of_the_written_predictions(
    segment_command: list[str], small_scenes: Path, tmp_path: Path
) -> None:
    folder = trained([*segment_command, *RANDOM], tmp_path / "runs", "testing.save_predictions=true")
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


def test_a_killed_training_continues_to_the_same_bits(segment_command: list[str], tmp_path: Path) -> None:
    command, runs = [*segment_command, *RANDOM], tmp_path / "disturbed"
    undisturbed = trained(command, tmp_path / "undisturbed")
    process = start([*command, "--runs", str(runs)])
    wait_for_step(runs, 2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    folder = trained(command, runs)
    assert record_of(folder).attempts == 2
    assert_same_end(folder, undisturbed, ("classes.csv",))


def test_two_processes_train_and_evaluate_each_image_once(segment_command: list[str], tmp_path: Path) -> None:
    """BN sees each process's own half, so that scores are not those of one process; pixels are counted all the same."""
    command = [*segment_command, *RANDOM]
    ranks = finished(launch([*command, "--runs", str(tmp_path / "two")]))
    assert [code for code, _, _ in ranks] == [0, 0], ranks
    one, two = trained(command, tmp_path / "one"), only_run(tmp_path / "two")
    assert record_of(two).status == "completed"
    assert last_checkpoint(two).step == last_checkpoint(one).step == 6
    pixels = [[row["pixels"] for row in csv.DictReader((run / "classes.csv").open())] for run in (one, two)]
    assert pixels[0] == pixels[1]
    first = [next(line for line in numbers_of(run) if "loss" in line) for run in (one, two)]
    assert first[0]["loss"] == pytest.approx(first[1]["loss"], rel=0.1)


def test_a_plain_vit_gets_a_pyramid(segment_command: list[str], tmp_path: Path) -> None:
    more = ["resize_to_px=[64, 64]", "training.steps=3", "layer_decay=0.65"]
    folder = trained([*segment_command, "--encoder", "random:vit_tiny_patch16_224"], tmp_path / "runs", *more)
    names = last_checkpoint(folder).part("model")
    assert any(name.startswith("backbone.pyramid.") for name in names)
    assert load_file(folder / "encoder" / "encoder.safetensors")["pos_embed"].shape == (1, 1 + 4 * 4, 192)


def test_test_masks_without_a_class_are_distinguished_from_damaged_ones(
    segment_command: list[str], small_scenes: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    masks = sorted((small_scenes / "annotations" / "validation").iterdir())
    for mask in masks:
        Image.new("L", (64, 64), 0).save(mask)
    masks[0].write_bytes(masks[0].read_bytes()[:20])
    assert mimbench.main([*segment_command, *RANDOM, "--runs", str(tmp_path)]) == mimbench.FAILED
    printed = capfd.readouterr().err
    assert "no labelled pixel among 4 test images: 3 masks hold no class" in printed
    assert f"1 could not be used:\n    {masks[0]}" in printed


def test_one_image_per_process_is_refused(
    segment_command: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    command = [*segment_command, *RANDOM, "training.batch_size=1", "--runs", str(tmp_path)]
    assert mimbench.main(command) == mimbench.WRONG
    assert "at least 2 images per process" in capfd.readouterr().err


@pytest.mark.long
def test_the_default_recipe_learns(scenes: Path, tmp_path: Path) -> None:
    command = ["transfer", "digit_scenes", *RANDOM, f"data.root={scenes}"]
    scores = record_of(trained(command, tmp_path / "runs")).metrics
    # A single class everywhere has an mIoU below 100 / 11 = 9.1 %.
    assert scores["mIoU"].last > 20
