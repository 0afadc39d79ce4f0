"""Segmentation of one's own data: any number of classes, any value that is ignored, scores by NumPy alone."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mimbench
from benchmarks.catalogue.tasks import find_task
from benchmarks.config import load_recipe
from benchmarks.engine.samples.unreadable import UnusableError
from benchmarks.errors import UserError
from tests.support.runs import record_of, trained
from transfer.segmentation.adapter import SegmentationAdapter
from transfer.segmentation.data import Scenes
from transfer.segmentation.recipe import SegmentationRecipe
from transfer.segmentation.samples import read_scene

SIDE = 64
SMALL = ["--recipe", "digit_scenes_finetune", "--encoder", "random:digits_swin"]
SHORT = ["head_channels=16", "auxiliary_channels=8", "training.batch_size=4"]
STEPS = ["training.steps=4", "training.schedule.warmup_steps=1", "evaluate_every_steps=4"]


def write(root: Path, values: list[int], train: int = 6, test: int = 3) -> Path:
    """Write pictures of four squares, each of a class and a grey of its own, and masks with these values."""
    draw = np.random.default_rng(0)
    for split, count in (("training", train), ("validation", test)):
        for number in range(count):
            cells = draw.integers(0, len(values), (2, 2))
            mask = np.kron(np.array(values)[cells], np.ones((SIDE // 2, SIDE // 2), int))
            grey = np.kron(cells * 200 // len(values), np.ones((SIDE // 2, SIDE // 2), int))
            noisy = (grey[..., None] + draw.integers(0, 50, (SIDE, SIDE, 3))).astype(np.uint8)
            for kind, pixels in (("images", noisy), ("annotations", mask)):
                folder = root / kind / split
                folder.mkdir(parents=True, exist_ok=True)
                wide = kind == "annotations" and max(values) > 255
                Image.fromarray(pixels.astype(np.uint16 if wide else np.uint8)).save(folder / f"{number}.png")
    return root


def found(root: Path, *overrides: str) -> Scenes:
    recipe = load_recipe(
        SegmentationRecipe, "transfer", "imagemasks_upernet_swin_base", [f"data.root={root}", *overrides]
    )
    return SegmentationAdapter().find_data(find_task("imagemasks"), recipe.config)


FORMS = {
    "three classes": ([0, 1, 2, 255], ["data.classes=[sky, sea, sand]"], 0, 3, 255),
    "from 1, 0 ignored": ([0, 1, 2, 3], ["data.classes=3", "data.first_label=1", "data.ignore_value=0"], 1, 3, 0),
    "300 classes": ([0, 1, 255, 256, 299, 999], ["data.classes=300", "data.ignore_value=999"], 0, 300, 999),
}


@pytest.mark.parametrize("form", FORMS)
def test_scores_of_a_run_are_those_of_numpy(form: str, tmp_path: Path) -> None:
    values, overrides, first, classes, ignored = FORMS[form]
    root = write(tmp_path / "data", values)
    command = ["transfer", "imagemasks", *SMALL, f"data.root={root}", *overrides, *SHORT, *STEPS]
    folder = trained(command, tmp_path / "runs", "testing.save_predictions=true")
    hits, there, seen = (np.zeros(classes, int) for _ in range(3))
    for mask in sorted((root / "annotations" / "validation").iterdir()):
        truth = np.asarray(Image.open(mask)).astype(int)
        predicted = np.asarray(Image.open(folder / "predictions" / "validation" / mask.name)).astype(int)
        for number in range(classes):
            is_there, is_seen = truth == number + first, (predicted == number + first) & (truth != ignored)
            hits[number] += (is_there & is_seen).sum()
            there[number] += is_there.sum()
            seen[number] += is_seen.sum()
    union = there + seen - hits
    record = record_of(folder)
    assert record.metrics["mIoU"].last == pytest.approx(100 * (hits[union > 0] / union[union > 0]).mean())
    assert record.metrics["aAcc"].last == pytest.approx(100 * hits.sum() / there.sum())
    with open(folder / "classes.csv") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["pixels"]) for row in rows] == there.tolist()
    assert rows[1]["class"] == ("sea" if form == "three classes" else f"class {first + 1}")


@pytest.mark.parametrize(
    ("overrides", "names"),
    [
        (["data.classes=[sky, sea, sand]"], ("sky", "sea", "sand")),
        (["data.classes=names.txt"], ("sky", "deep sea", "sand")),
        ([], ("one", "two", "three")),
        (["data.classes=3"], ("class 0", "class 1", "class 2")),
        (["data.classes=3", "data.first_label=1", "data.ignore_value=0"], ("class 1", "class 2", "class 3")),
    ],
)
def test_classes_are_named(overrides: list[str], names: tuple[str, ...], tmp_path: Path) -> None:
    root = write(tmp_path, [0, 1, 2])
    (root / "names.txt").write_text("sky\ndeep sea\n\nsand\n")
    (root / "classes.txt").write_text("one\ntwo\nthree\n")
    assert found(root, *overrides).classes == names


def test_the_fingerprint_covers_what_values_mean(tmp_path: Path) -> None:
    root = write(tmp_path, [0, 1, 2])
    ways = ["data.classes=3"], ["data.classes=4"], ["data.classes=3", "data.ignore_value=7"], ["data.classes=[a, b, c]"]
    assert len({str(found(root, *way).fingerprint) for way in ways}) == len(ways)


@pytest.mark.parametrize(
    ("overrides", "fault"),
    [
        ([], "data.classes = None\n  rule:   the number of classes, or their names"),
        (["data.classes=1"], "data.classes = 1: class 0\n  rule:   two classes or more"),
        (["data.classes=[sky, sky]"], "data.classes = 2: sky, sky\n  rule:   two classes or more"),
        (["data.classes=-4"], "data.classes = 0: "),
        (["data.classes=lost.txt"], "data.classes = lost.txt\n  rule:   a file below"),
        (
            ["data.classes=3", "data.ignore_value=0"],
            "data.ignore_value = 0\n  rule:   no class's value: these are 0 to 2",
        ),
    ],
)
def test_what_masks_hold_must_be_said(overrides: list[str], fault: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        found(write(tmp_path, [0, 1, 2]), *overrides)
    assert fault in str(caught.value)
    assert "remedy" in str(caught.value)


@pytest.mark.parametrize(
    ("values", "odd", "overrides", "words"),
    [
        ([0, 1, 2, 3], 3, ["data.classes=3"], r"unknown class 3 \(255 is ignored, 0 to 2 are the classes\)"),
        ([0, 1, 2], 0, ["data.classes=2", "data.first_label=1"], r"unknown class 0 \(255 is ignored, 1 to 2 "),
        ([0, 255, 299, 300], 300, ["data.classes=300"], r"unknown class 300 \(0 to 299 are the classes\)"),
    ],
)
def test_another_value_is_named(values: list[int], odd: int, overrides: list[str], words: str, tmp_path: Path) -> None:
    scenes = found(write(tmp_path, values, train=12), *overrides)
    pair = next(each for each in scenes.train if (np.asarray(Image.open(each.mask)) == odd).any())
    with pytest.raises(UnusableError, match=words):
        read_scene(pair, scenes.values)


def test_the_masks_of_a_known_task_are_known(scenes: Path, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    command = ["transfer", "digit_scenes", *SMALL, f"data.root={scenes}", "data.classes=5", "--runs", str(tmp_path)]
    assert mimbench.main(command) == mimbench.WRONG
    assert "data.classes = 5\n  rule:   not given: the masks of task digit_scenes are known" in capfd.readouterr().err


def test_the_task_is_listed(capfd: pytest.CaptureFixture[str]) -> None:
    assert mimbench.main(["list", "tasks"]) == 0
    assert "imagemasks" in capfd.readouterr().out
