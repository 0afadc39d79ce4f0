"""Nearest neighbours of patches: CAPI's own evaluation as the witness, brute force, and what is refused.

`fixtures/capi_knn.json` holds what facebookresearch/capi (commit 98b4fa1) returns of the pictures and the encoder in
`small_ade.py`: `eval_segmentation.eval_model(classifiers=("knn",))` from files to scores, with
`baselines.timm_loader.TimmAdapter`, on the CPU in float32, and with the held-out images that are drawn here.
"""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import mimbench
from tests.support.processes import finished, launch
from tests.support.runs import only_run, record_of, trained
from tests.transfer.segmentation.small_ade import TEST, VALUES, write_small_ade, write_small_vit
from transfer.classification.knn import Neighbours
from transfer.segmentation.frozen.patches import OUTSIDE, PatchClasses, Standardised, most_common
from transfer.segmentation.masks import MaskValues

THERE = json.loads((Path(__file__).parent / "fixtures" / "capi_knn.json").read_text())


@pytest.fixture(scope="module")
def ade(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_ade(tmp_path_factory.mktemp("ade"))


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_vit(tmp_path_factory.mktemp("vit"))


def command(data: Path, encoder: object, *overrides: str) -> list[str]:
    recipe = ["--recipe", "ade20k_knn_capi", "inference.workers=0", "image_size_px=42", "held_out=0.25"]
    source = ["--encoder", str(encoder), "--stage", "self-supervised"]
    return ["transfer", "ade20k", *recipe, f"data.root={data}", *source, *overrides]


def test_scores_choice_and_predictions_are_those_of_capis_own_evaluation(ade: Path, vit: Path, tmp_path: Path) -> None:
    folder = trained(command(ade, vit, "save_predictions=true"), tmp_path / "runs")
    rows = list(csv.DictReader((folder / "neighbours.csv").open()))
    found = {f"mIoU_num_neighbors={row['k']}_distance={row['distance']}": float(row["held_out_mIoU"]) for row in rows}
    assert found == pytest.approx({name: 100 * value for name, value in THERE["held_out"].items()}, abs=5e-5)
    best = max(THERE["held_out"], key=THERE["held_out"].__getitem__)
    (chosen,) = (row for row in rows if row["note"])
    assert best == f"mIoU_num_neighbors={chosen['k']}_distance={chosen['distance']}"
    record = record_of(folder)
    assert record.metrics["mIoU"].last == pytest.approx(100 * THERE["mIoU"], abs=1e-9)
    assert record.metrics["aAcc"].last == pytest.approx(100 * THERE["acc"], abs=1e-9)
    for number, expected in enumerate(THERE["maps"], start=12):
        with Image.open(folder / "predictions" / "validation" / f"{number:04d}.png") as image:
            values = np.asarray(image)
        assert "".join(chr(65 + VALUES.index(value)) for value in values.ravel()) == expected
    assert record.choice is not None
    assert (record.choice.members, record.choice.held_out_images, record.choice.held_out_top1) == (8, 3, None)
    assert record.feature == "output: all patches"


def test_features_are_computed_once_and_serve_another_choice(
    ade: Path, vit: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = f"features.folder={tmp_path / 'features'}"
    trained(command(ade, vit, kept), tmp_path / "one")
    assert "12 computed" in capsys.readouterr().out
    other = trained(command(ade, vit, kept, "k=[5]", "distance=[L2]"), tmp_path / "other")
    assert "12 kept, none computed again" in capsys.readouterr().out
    assert record_of(other).features is not None
    assert [row["k"] for row in csv.DictReader((other / "neighbours.csv").open())] == ["5"]


@pytest.mark.long
def test_three_ranks_share_two_test_images(ade: Path, vit: Path, tmp_path: Path) -> None:
    two = tmp_path / "two"
    shutil.copytree(ade, two)
    for kind in ("images", "annotations"):
        for number in (14, 15):
            (two / kind / "validation" / f"{number:04d}.png").unlink()
    words = command(two, vit, "save_predictions=true")
    alone = trained([*words, f"features.folder={tmp_path / 'one'}"], tmp_path / "alone")
    asked = [*words, f"features.folder={tmp_path / 'more'}", "--runs", str(tmp_path / "together")]
    assert [code for code, _, _ in finished(launch(asked, 3))] == [0, 0, 0]
    together = only_run(tmp_path / "together")
    for name in ("classes.csv", "neighbours.csv", "predictions/validation/0012.png", "predictions/validation/0013.png"):
        assert (together / name).read_bytes() == (alone / name).read_bytes()


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("image_size_px=43", "image_size_px"),
        ("held_out=0.01", "a share of the 12 training images"),
        ("k=[1, 5000]", "at most the patches of training images that have a class"),
        ("k=[]", "k"),
    ],
)
def test_what_cannot_be_is_refused_by_name(
    ade: Path, vit: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], override: str, words: str
) -> None:
    asked = command(ade, vit, override, "--runs", str(tmp_path / "runs"))
    assert mimbench.main(asked) == 2
    assert words in capsys.readouterr().err


def test_a_damaged_mask_is_named_and_its_image_left_out(vit: Path, tmp_path: Path) -> None:
    data = write_small_ade(tmp_path / "ade")
    broken = data / "annotations" / "training" / "0003.png"
    broken.write_bytes(broken.read_bytes()[:200])
    trained(command(data, vit), tmp_path / "runs")
    record = record_of(only_run(tmp_path / "runs"))
    assert record.data is not None
    (named,) = record.data.unreadable
    assert named.startswith(str(broken))
    assert record.choice is not None
    assert record.choice.held_out_images == 3


def test_the_nearest_and_their_votes_are_those_of_brute_force() -> None:
    draw = np.random.RandomState(3)
    bank, asked = draw.randn(50, 7) * [1, 5, 1, 1, 30, 1, 0] + 3, draw.randn(9, 7) + 3
    labels = draw.randint(0, 4, (50, 6))
    scale = Standardised([torch.tensor(part) for part in np.array_split(bank, 3)])
    deviation = np.where(bank.std(axis=0) > 0, bank.std(axis=0), 1)
    scaled, queries = ((each - bank.mean(axis=0)) / deviation for each in (bank, asked))
    np.testing.assert_allclose(scale(torch.tensor(bank)).numpy(), scaled, atol=1e-6)
    apart = np.sqrt(((queries[:, None] - scaled[None]) ** 2).sum(axis=2))
    nearest = np.argsort(apart, axis=1)[:, :5]
    found = Neighbours(scale(torch.tensor(asked)), 5, lambda a, b: -torch.cdist(a, b))
    for rows in torch.arange(50).split(11):
        found.add(scale(torch.tensor(bank))[rows], rows)
    assert found.labels.tolist() == nearest.tolist()
    votes = most_common(torch.tensor(labels)[found.labels])
    for patch, pixel in np.ndindex(9, 6):
        counts = np.bincount(labels[nearest[patch], pixel])
        assert votes[patch, pixel] == counts.argmax(), "the lowest of several most common ones"


@pytest.mark.parametrize(("first", "ignored", "outside"), [(1, 0, 0), (0, 255, 3), (2, 7, 3), (0, None, 3)])
def test_pixels_outside_every_class_keep_their_place_among_masks_values(
    first: int, ignored: int | None, outside: int
) -> None:
    classes = PatchClasses(MaskValues(("a", "b", "c"), first, ignored), 2, 4)
    mask = np.array([[first, first + 1], [first + 2, first if ignored is None else ignored]], np.uint8).repeat(4, 0)
    assert classes.names[outside] == OUTSIDE
    patches = classes.split(torch.from_numpy(mask.repeat(4, 1)[::2, ::2].astype(np.int32)))
    assert patches.shape == (4, 4)
    assert [set(patch.tolist()) for patch in patches] == [{value} for value in mask[::4].ravel().tolist()]
    assert classes.joined(patches).tolist() == mask.repeat(4, 1)[::2, ::2].tolist()
    numbers = torch.tensor([n for n in range(4) if n != outside])
    assert classes.mask_values(numbers).tolist() == [first, first + 1, first + 2]
    assert (classes.truth(torch.arange(4)) == 255).nonzero().tolist() == [[outside]]
    assert len(THERE["maps"]) == TEST
