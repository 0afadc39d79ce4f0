"""Reconstructions: what they show is what the objective's target is, and visible pixels stay as they are."""

from __future__ import annotations

import base64
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

import mimbench
from benchmarks.encoders import IMAGENET_MEAN, IMAGENET_STD
from benchmarks.errors import UserError
from pretrain.method.objectives import BinObjective, ClusterObjective, Denormalise, PixelObjective
from pretrain.run.pretrained import open_pretrained
from pretrain.show.reconstruct import Box, load, object_masks, random_masks, rows_of
from tests.support.runs import last_checkpoint, only_run

CPU = torch.device("cpu")
ON_SCREEN = Denormalise(IMAGENET_MEAN, IMAGENET_STD, CPU)


def normalised_levels() -> tuple[Tensor, Tensor]:
    """Return 8-bit images [2, 3, 48, 48] on a scale of 0 to 1, and normalised."""
    levels = torch.randint(256, (2, 3, 48, 48), generator=torch.Generator().manual_seed(0)) / 255
    mean, std = (torch.tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    return levels, (levels - mean) / std


@pytest.mark.parametrize("local_norm", [None, 7])
@pytest.mark.parametrize("resolution", [12, 48])
def test_the_true_target_is_drawn_as_the_image(local_norm: int | None, resolution: int) -> None:
    levels, images = normalised_levels()
    objective = PixelObjective(3, resolution, "masked", "l1", local_norm)
    drawn = objective.colours(objective.target(images), images, ON_SCREEN)
    truth = levels.unflatten(2, (resolution, -1)).unflatten(4, (resolution, -1)).mean(dim=(3, 5))
    assert torch.allclose(drawn, truth, atol=2e-6)


@pytest.mark.parametrize("bins", [8, 256])
def test_certain_bins_are_drawn_within_half_a_bin(bins: int) -> None:
    levels, images = normalised_levels()
    objective = BinObjective(3, 48, "full", bins, ON_SCREEN)
    certain = functional.one_hot(objective.classes(images), bins).movedim(-1, 2).flatten(1, 2).float()
    assert (objective.colours(certain, images, ON_SCREEN) - levels).abs().max() <= 0.5 / bins + 1 / 255


def test_certain_clusters_are_drawn_as_their_colours() -> None:
    palette = torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.5, 0.25]])
    objective = ClusterObjective(2, "full", palette, ON_SCREEN)
    scores = torch.tensor([[[[9.0, 0.0], [0.0, 0.0]], [[0.0, 9.0], [9.0, 9.0]]]])
    drawn = objective.colours(scores, torch.zeros(1, 3, 2, 2), ON_SCREEN)
    assert drawn[0, :, 0, 0].tolist() == [0, 0, 0]
    assert drawn[0, :, 1, 1].tolist() == [1, 0.5, 0.25]


def test_masks_of_an_object() -> None:
    most, whole = object_masks(Box(0.25, 0.25, 0.75, 0.75), 8, 32, seed=0)
    expected = np.zeros((4, 4), dtype=bool)
    expected[1:3, 1:3] = True
    assert (whole.cells.numpy() == expected).all()
    assert most.cells.sum() == 3
    assert not (most.cells & ~whole.cells).any()
    with pytest.raises(UserError, match="a part of the image"):
        object_masks(Box(0.0, 0.0, 1.0, 1.0), 8, 32, seed=0)
    with pytest.raises(UserError, match="this box covers 0"):
        object_masks(Box(0.0, 0.0, 0.05, 0.05), 8, 32, seed=0)


@pytest.fixture
def trained(pretrain_command: list[str], tmp_path: Path) -> Path:
    assert mimbench.main([*pretrain_command, "--runs", str(tmp_path / "runs")]) == 0
    return only_run(tmp_path / "runs")


def test_rows_show_the_checkpoints_prediction_and_leave_visible_pixels_alone(trained: Path, digits: Path) -> None:
    run = open_pretrained(trained / "encoder", CPU)
    kept = last_checkpoint(trained)
    assert run.step == kept.step == 9
    held = run.method.model.state_dict()
    assert all(tensor.equal(held[name]) for name, tensor in kept.part("model").items())
    file = next((digits / "test" / "3").iterdir())
    image = load(file, run.recipe.config)
    assert np.allclose(image.permute(1, 2, 0), np.asarray(Image.open(file).convert("RGB")) / 255), "digits are 32 px"
    (mask,) = random_masks([8], 0.6, 32, seed=0)
    (row,) = rows_of(image, [mask], [run], CPU)
    hidden = np.kron(mask.cells.numpy(), np.ones((8, 8), dtype=bool))
    assert hidden.sum() == 10 * 64
    (made,) = row.reconstructions
    assert (made.mixed[~hidden] == row.original[~hidden]).all()
    assert (made.mixed[hidden] == made.predicted[hidden]).all()
    assert (row.masked[hidden] == 0.5).all()
    assert (row.masked[~hidden] == row.original[~hidden]).all()
    mean, std = np.array(IMAGENET_MEAN)[:, None, None], np.array(IMAGENET_STD)[:, None, None]
    seen = torch.tensor((image.numpy() - mean) / std, dtype=torch.float32)[None]
    patches = torch.from_numpy(np.kron(mask.cells.numpy(), np.ones((2, 2), dtype=bool)))[None]
    with torch.no_grad():
        expected = run.method.model(seen, patches)[0].numpy() * std + mean
    assert np.allclose(made.predicted, expected.transpose(1, 2, 0).clip(0, 1), atol=1e-5)


def test_the_verb_writes_pictures_and_a_page_that_needs_nothing_else(
    trained: Path, small_digits: Path, tmp_path: Path
) -> None:
    image = next((small_digits / "test" / "3").iterdir())
    command = ["reconstruct", str(trained), str(image), "--out", str(tmp_path / "out")]
    assert mimbench.main([*command, "--beside", str(trained), "--mask-patch-size", "4,8"]) == 0
    page = (tmp_path / "out" / "reconstruct.html").read_text()
    (picture,) = (tmp_path / "out").glob("*.png")
    (embedded,) = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    assert base64.b64decode(embedded) == picture.read_bytes()
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    with Image.open(picture) as drawn:
        assert drawn.width > drawn.height, "six columns: two runs side by side; four masks"


def test_mistakes(trained: Path, small_digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images, out = str(small_digits / "test"), ["--out", str(tmp_path / "out")]

    def said(*command: str) -> str:
        assert mimbench.main(["reconstruct", *command, *out]) == mimbench.WRONG
        return capsys.readouterr().err

    assert "run = /nowhere" in said("/nowhere", images)
    assert "image = /nowhere" in said(str(trained), "/nowhere")
    assert "divisor of image_size_px (32)" in said(str(trained), images, "--mask-patch-size", "24")
    assert "whole numbers of pixels" in said(str(trained), images, "--mask-patch-size", "8,x")
    assert "TOP,LEFT,BOTTOM,RIGHT" in said(str(trained), images, "--object", "75,25,25,75")
    assert "--mask-ratio = 1.0" in said(str(trained), images, "--mask-ratio", "1")
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    assert "an image that can be read" in said(str(trained), str(broken))
    shutil.rmtree(trained / "checkpoints")
    assert "the exported encoder has no head" in said(str(trained), images)
    shutil.copytree(trained / "encoder", tmp_path / "alone" / "encoder")
    assert "an encoder alone predicts no pixels" in said(str(tmp_path / "alone" / "encoder"), images)
    assert not (tmp_path / "out").exists()
