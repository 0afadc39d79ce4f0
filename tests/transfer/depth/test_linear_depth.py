"""Linear depth: data as NYUv2 has it, whole runs, what is refused, damage, a stop and its continuation."""

from __future__ import annotations

import csv
import random
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import mimbench
from benchmarks.config import load_recipe
from benchmarks.digits.depths import FARTHEST_M, GROUND_M, NEAREST_M, write_digit_depths
from benchmarks.errors import UserError
from tests.conftest import MadeOnce
from tests.support.runs import assert_same_training, last_checkpoint, record_of, stop_after, trained
from transfer.depth.augment import EIGEN_PX, NYU_BORDER_PX, Augment, window
from transfer.depth.data import read_depths
from transfer.depth.recipe import DepthAugmentation, DepthData, LinearDepthRecipe
from transfer.depth.samples import read_picture

LISTS = DepthData(train_list="digits_train.txt", test_list="digits_test.txt")


@pytest.fixture(scope="session")
def digit_depths(made_once: MadeOnce) -> Path:
    return made_once("digit_depths", write_digit_depths)


@pytest.fixture
def small_depths(digit_depths: Path, tmp_path: Path) -> Path:
    """Return 12 training and 4 test pictures; a copy that a test may damage."""
    root = tmp_path / "small_depths"
    for split, count in (("train", 12), ("test", 4)):
        lines = (digit_depths / f"digits_{split}.txt").read_text().splitlines(keepends=True)[:count]
        (root / split).mkdir(parents=True)
        (root / f"digits_{split}.txt").write_text("".join(lines))
        for name in (word.lstrip("/") for line in lines for word in line.split()[:2]):
            (root / name).write_bytes((digit_depths / name).read_bytes())
    return root


def command(data: Path, *overrides: str) -> list[str]:
    short = ["training.steps=6", "training.batch_size=4", "training.schedule.warmup_steps=2"]
    saved = ["training.checkpoint_every_steps=2", "training.log_every_steps=2", "evaluate_every_steps=3"]
    source = ["--encoder", "random:digits_swin"]
    return ["transfer", "digit_depths", f"data.root={data}", *source, *short, *saved, *overrides]


def test_a_run_keeps_its_head_alone_scores_every_image_and_is_scored_again(small_depths: Path, tmp_path: Path) -> None:
    folder = trained(command(small_depths, "testing.save_predictions=true"), tmp_path / "runs")
    record = record_of(folder)
    assert (record.feature, record.exported_sha256) == (
        "last 4 stages, joined: all patches, before the last norm",
        None,
    )
    assert {name.partition(".")[0] for name in last_checkpoint(folder).part("model")} == {"conv_depth"}
    rows = list(csv.DictReader((folder / "depths.csv").open()))
    assert [row["image"] for row in rows] == [f"test/{number:04d}" for number in range(4)]
    for row in rows:
        with Image.open(folder / "predictions" / f"{row['image']}.png") as file:
            predicted = np.asarray(file) / 1000
        with Image.open(small_depths / f"{row['image']}_depth.png") as file:
            true = np.asarray(file) / 1000
        known = (true > 0.001) & (true < 10)
        rmse = 100 * np.sqrt(np.mean((predicted[known] - true[known]) ** 2))
        assert float(row["rmse"]) == pytest.approx(rmse, abs=0.1), "predictions are kept in whole millimetres"
        assert int(row["pixels"]) == known.sum()
    assert record.metrics["rmse"].last == pytest.approx(np.mean([float(row["rmse"]) for row in rows]))
    further = ["evaluate", "digit_depths", "--model", str(folder), "--name", "again", f"data.root={small_depths}"]
    assert mimbench.main([*further, "data.test_list=digits_train.txt"]) == 0
    (added,) = record_of(folder).added_test_sets
    assert added.reproduced["rmse"] == pytest.approx(record.metrics["rmse"].last)
    assert added.scores.keys() == record.metrics.keys()


def test_depths_saved_and_predicted_again_are_shown_with_their_errors(small_depths: Path, tmp_path: Path) -> None:
    folder = trained(command(small_depths, "testing.save_predictions=true"), tmp_path / "runs")
    errors = {f"{float(row['rmse']) / 100:.3f}" for row in csv.DictReader((folder / "depths.csv").open())}
    for out in ("saved", "again"):
        asked = ["show", str(folder), "--out", str(tmp_path / out), "--data", f"digit_depths={small_depths}"]
        assert mimbench.main(asked) == 0
        page = (tmp_path / out / "show.html").read_text()
        shown = set(re.findall(r"RMSE ([0-9.]+) m", page))
        assert len(shown) == len(errors) == 4
        assert all(
            abs(float(one) - float(other)) < 0.002 for one, other in zip(sorted(shown), sorted(errors), strict=True)
        )
        shutil.rmtree(folder / "predictions", ignore_errors=True)


def test_a_stopped_run_goes_on_to_the_same_bits(small_depths: Path, tmp_path: Path) -> None:
    whole = trained(command(small_depths), tmp_path / "whole")
    stop_after(command(small_depths), tmp_path / "stopped", 2)
    assert_same_training(trained(command(small_depths), tmp_path / "stopped"), whole)


@pytest.mark.long
def test_a_short_training_is_better_than_the_mean_depth(digit_depths: Path, tmp_path: Path) -> None:
    overrides = ["training.steps=60", "training.batch_size=8", "evaluate_every_steps=60"]
    folder = trained(command(digit_depths, *overrides), tmp_path / "runs")
    data, errors = read_depths(digit_depths, LISTS), []
    known = [depth[depth > 0] for depth in (read_picture(pair, 1000).depth for pair in data.train)]
    mean = np.concatenate(known).mean()
    for pair in data.test:
        depth = read_picture(pair, 1000).depth
        errors.append(np.sqrt(np.mean((depth[depth > 0] - mean) ** 2)))
    assert record_of(folder).metrics["rmse"].last < 0.9 * 100 * np.mean(errors)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("", "a line IMAGE DEPTH FOCAL for each image"),
        ("/test/0000.png\n", "digits_test.txt:1"),
        ("../secret.png /test/0000_depth.png 1\n", "paths below the root"),
        ("/test/0000.png /test/none.png 1\n", "test/none.png"),
        ("/test/0000.png None 1\n", "a line IMAGE DEPTH FOCAL for each image"),
    ],
)
def test_a_list_that_names_no_pair_is_refused_with_its_line(small_depths: Path, lines: str, words: str) -> None:
    (small_depths / "digits_test.txt").write_text(lines)
    with pytest.raises(UserError, match=words):
        read_depths(small_depths, LISTS)


def test_lines_without_depth_are_left_out_and_slashes_are_dropped(small_depths: Path) -> None:
    before = read_depths(small_depths, LISTS)
    (small_depths / "digits_test.txt").write_text("train/0001.png None 1\n\n/test/0000.png test/0000_depth.png\n")
    data = read_depths(small_depths, LISTS)
    assert [data.name(pair) for pair in data.test] == ["test/0000"]
    assert data.fingerprint.sha256 != before.fingerprint.sha256
    with (small_depths / "digits_train.txt").open("a") as more:
        more.write("test/0000.png test/0000_depth.png 1\n")
    both = read_depths(small_depths, LISTS)
    assert both.fingerprint.sha256 != data.fingerprint.sha256, "the files are the same, but not what they are for"
    inches = LISTS.model_copy(update={"values_per_metre": 39.37})
    assert read_depths(small_depths, inches).fingerprint.sha256 != both.fingerprint.sha256


def test_damaged_and_odd_depth_maps_are_named(small_depths: Path, tmp_path: Path) -> None:
    odd, colour = small_depths / "train" / "0002_depth.png", small_depths / "test" / "0001_depth.png"
    Image.fromarray(np.zeros((30, 64), np.uint16)).save(odd)
    Image.new("RGB", (64, 64)).save(colour)
    folder = trained(command(small_depths), tmp_path / "runs")
    record = record_of(folder)
    assert record.data is not None
    assert sorted(record.data.unreadable) == [
        f"{colour}: 3 channels where one belongs",
        f"{odd}: 64x30, its image 64x64",
    ]
    assert len((folder / "depths.csv").read_text().splitlines()) == 1 + 3


@pytest.mark.parametrize(
    ("override", "code", "words"),
    [
        ("crop_px=[65, 64]", 1, "fewer than the crop of 65x64"),
        ("min_depth_m=20", 2, "min_depth_m must be below max_depth_m"),
        ("maps=5", 2, "at most 4, the encoder's maps"),
        ("max_depth_m=0.5", 1, "no test image has a depth between 0.001 and 0.5 m"),
    ],
)
def test_what_cannot_be_measured_ends_with_the_reason(
    small_depths: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], override: str, code: int, words: str
) -> None:
    assert mimbench.main([*command(small_depths, override), "--runs", str(tmp_path / "runs")]) == code
    assert words in capsys.readouterr().err


def test_image_and_depth_stay_on_top_of_each_other() -> None:
    depth = np.arange(96 * 128, dtype=np.float32).reshape(96, 128) % 251 + 1
    image = np.repeat(depth[..., None], 3, axis=2).astype(np.uint8)
    augment = Augment(DepthAugmentation(colour=0.0, rotation=0.0), (40, 50), None)
    mirrored = 0
    for seed in range(12):
        random.seed(seed)
        crop, of_depth = augment(image, depth)
        assert crop.shape == (40, 50, 3)
        assert (crop[..., 0] == of_depth).all()
        mirrored += bool(of_depth[0, 0] > of_depth[0, 1])
    assert 0 < mirrored < 12
    random.seed(1)
    turned = Augment(DepthAugmentation(colour=0.0, rotation=1.0, rotation_degrees=30), (96, 128), None)
    assert (turned(image, depth)[1] == 0).any(), "what a turned image leaves empty is unknown"


def test_borders_are_those_of_nyu_also_in_proportion() -> None:
    rows, columns = window((480, 640), NYU_BORDER_PX)
    assert (rows, columns) == (slice(45, 472), slice(43, 608))
    assert window((480, 640), EIGEN_PX) == (slice(45, 471), slice(41, 601))
    assert window((240, 320), EIGEN_PX) == (slice(22, 235), slice(20, 300))
    assert window((10, 20), None) == (slice(0, 10), slice(0, 20))
    recipe = load_recipe(LinearDepthRecipe, "transfer", "nyuv2_depth_linear_dinov2").config
    assert Augment(recipe.augmentation, recipe.crop_px, NYU_BORDER_PX).left((480, 640)) == (427, 565)


def test_the_embedded_depths_are_within_their_range_and_the_same_everywhere(digit_depths: Path, tmp_path: Path) -> None:
    data = read_depths(digit_depths, LISTS)
    assert (len(data.train), len(data.test)) == (160, 40)
    depths = torch.from_numpy(np.stack([read_picture(pair, 1000).depth for pair in data.test]))
    near, far = depths[(depths > 0) & (depths < 5.5)], depths[depths > 5.5]
    assert NEAREST_M <= near.min() < 2 < 4 < near.max() <= FARTHEST_M
    assert (far.min(), far.max()) == (GROUND_M[1], GROUND_M[0])
    assert (depths == 0).any()
    assert write_digit_depths(tmp_path / "again") == str(data_of(digit_depths))


def data_of(root: Path) -> str:
    """Return the fingerprint that the writer finds of data that are there already."""
    return write_digit_depths(root)
