"""The loss on held-out images: the paper's formula, on the same images under the same masks wherever it is measured."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import mimbench
from benchmarks.config import load_recipe
from benchmarks.data.image_source import ImageFiles
from benchmarks.encoders import IMAGENET_MEAN, IMAGENET_STD
from benchmarks.engine.samples.loaders import SampleKey
from pretrain.recipe import PretrainRecipe
from pretrain.run.held_out import MaskedSamples
from pretrain.run.image_files import find_images
from pretrain.run.pretrained import open_pretrained
from tests.support.runs import only_run, record_of, trained

EVERY = "validation={split: test, every_epochs: 1}"


def lines_of(folder: Path, key: str) -> list[tuple[int, float]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [(line["step"], line[key]) for line in lines if key in line]


def test_the_record_holds_the_papers_loss_on_the_test_images(
    pretrain_command: list[str], small_digits: Path, tmp_path: Path
) -> None:
    assert mimbench.main([*pretrain_command, EVERY, "training.batch_size=8", "--runs", str(tmp_path / "runs")]) == 0
    folder = only_run(tmp_path / "runs")
    measured = lines_of(folder, "masked_loss")
    assert [step for step, _ in measured] == [6, 12, 18], "after every epoch of 48 images, 8 at a time"
    run = open_pretrained(folder, torch.device("cpu"))
    files = sorted((small_digits / "test").glob("*/*.png"))
    assert len(files) == 20
    source = ImageFiles(small_digits, files)
    masks = MaskedSamples(run.recipe.config, source, run.method.model.encoder.patch_size_px)
    mean, std = np.array(IMAGENET_MEAN)[:, None, None], np.array(IMAGENET_STD)[:, None, None]
    losses = []
    for position, file in enumerate(files):
        image = (np.asarray(Image.open(file).convert("RGB")).transpose(2, 0, 1) / 255 - mean) / std
        hidden = masks[SampleKey(position, 0)].hidden
        with torch.no_grad():
            predicted = run.method.model(torch.tensor(image, dtype=torch.float32)[None], hidden[None])[0].double()
        counted = np.kron(hidden.numpy(), np.ones((4, 4)))
        assert counted.sum() == 10 * 64
        losses.append((np.abs(predicted.numpy() - image) * counted).sum() / (counted.sum() + 1e-5) / 3)
    loss = record_of(folder).metrics["masked_loss"]
    assert loss.last == pytest.approx(np.mean(losses), rel=1e-5)
    assert loss.last == pytest.approx(measured[-1][1], rel=1e-8)
    lowest, step = min((value, step) for step, value in measured)
    assert (loss.best, loss.best_epoch) == (pytest.approx(lowest, rel=1e-8), step // 6)


@pytest.mark.parametrize("size", [1, 7, 64])
def test_the_loss_does_not_depend_on_how_many_images_are_measured_at_once(
    pretrain_command: list[str], tmp_path: Path, size: int
) -> None:
    command = [*pretrain_command, EVERY, "training.epochs=1", "training.schedule.warmup_epochs=0"]
    one, other = (
        trained(command, tmp_path / name, *more)
        for name, more in {"as trained": [], "own": [f"training.evaluation_batch_size={size}"]}.items()
    )
    assert one.name == other.name, "it is no part of what the run is"
    found, expected = (record_of(run).metrics["masked_loss"].last for run in (other, one))
    assert found == pytest.approx(expected, rel=1e-5)


def test_avg_dist_is_that_of_the_recipes_masks(pretrain_command: list[str], tmp_path: Path) -> None:
    """A single hidden square of 16 px in a corner: the brute-force mean distance to the visible rest."""
    change = ["masking={kind: square, mask_patch_size_px: 16, mask_ratio: 0.25}", "validation=null"]
    assert mimbench.main([*pretrain_command, *change, "--runs", str(tmp_path / "runs")]) == 0
    metrics = record_of(only_run(tmp_path / "runs")).metrics
    place = np.arange(16)
    # The square lies in a corner whichever of the four places it takes, so that two of its sides touch what is visible.
    expected = np.minimum(16 - place[:, None], 16 - place[None, :]).mean()
    assert metrics["avg_dist_px"].last == pytest.approx(expected, rel=1e-9)
    assert "masked_loss" not in metrics
    assert lines_of(only_run(tmp_path / "runs"), "masked_loss") == []


def test_a_share_is_held_out_of_training_and_is_the_same_for_every_seed(
    pretrain_command: list[str], small_digits: Path, tmp_path: Path
) -> None:
    recipe = load_recipe(PretrainRecipe, "pretrain", "digits_simmim", ["validation={share: 0.25}"]).config
    found = find_images(recipe, small_digits)
    assert (len(found.training), len(found.held_out or [])) == (36, 12)
    everything = set((small_digits / "unlabelled").iterdir())
    assert found.held_out is not None
    assert set(found.training.files) | set(found.held_out.files) == everything
    assert set(found.training.files).isdisjoint(found.held_out.files)
    for seed in ("0", "1"):
        command = [*pretrain_command, "validation={share: 0.25}", "training.batch_size=12", "--seed", seed]
        assert mimbench.main([*command, "--runs", str(tmp_path / seed)]) == 0
        record = record_of(only_run(tmp_path / seed))
        assert (record.steps, record.data.images) == (9, 36)
        assert record.data.fingerprint == str(found.fingerprint)


def test_held_out_images_change_no_bit_of_the_training(pretrain_command: list[str], tmp_path: Path) -> None:
    for name, change in (("with", EVERY), ("without", "validation=null")):
        assert mimbench.main([*pretrain_command, change, "--runs", str(tmp_path / name)]) == 0
    with_, without = (record_of(only_run(tmp_path / name)) for name in ("with", "without"))
    assert with_.exported_sha256 == without.exported_sha256
    assert with_.run_id != without.run_id


def test_other_held_out_images_are_another_run(pretrain_command: list[str], small_digits: Path, tmp_path: Path) -> None:
    ids = set()
    for _ in range(2):
        assert mimbench.main([*pretrain_command, EVERY, "--runs", str(tmp_path / "runs")]) == 0
        ids = {path.name for path in (tmp_path / "runs").iterdir()}
        next((small_digits / "test" / "7").iterdir()).unlink()
    assert len(ids) == 2


def test_an_unreadable_held_out_image_is_named_and_left_out(
    pretrain_command: list[str], small_digits: Path, tmp_path: Path
) -> None:
    damaged = next((small_digits / "test" / "7").iterdir())
    damaged.write_bytes(b"no image")
    assert mimbench.main([*pretrain_command, EVERY, "--runs", str(tmp_path / "runs")]) == 0
    record = record_of(only_run(tmp_path / "runs"))
    (named,) = record.data.unreadable
    assert str(damaged) in named
    assert record.metrics["masked_loss"].last > 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("validation={split: nowhere}", "or set validation=null"),
        ("validation={split: test, share: 0.1}", "exactly one of validation.split and validation.share"),
        ("validation={}", "exactly one of validation.split and validation.share"),
        ("validation.share=1.5", "less than 1"),
    ],
)
def test_mistakes(
    pretrain_command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], change: str, words: str
) -> None:
    assert mimbench.main([*pretrain_command, change, "--runs", str(tmp_path / "runs")]) == mimbench.WRONG
    assert words in capsys.readouterr().err
