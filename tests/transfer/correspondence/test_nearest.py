"""Correspondence: sd-dino's own evaluation as the witness, exact truth on digits, what is refused, damage.

`fixtures/sd_dino_pck.json` holds what Junyi42/sd-dino (commit b85df18) computes of the pictures and the encoder in
`small_spair.py`: `load_spair_data` and `compute_pck` of pck_spair_pascal.py with ONLY_DINO, DINOV2 and the cosine, on
all pairs, with the tokens of our encoder's last block in the place of DINOv2's. Points are (y, x) on squares of 840 px.
"""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import mimbench
from benchmarks.digits.pairs import write_digit_pairs
from tests.conftest import MadeOnce
from tests.support.runs import only_run, record_of, trained
from tests.transfer.correspondence.small_spair import SIDE_PX, write_small_spair, write_small_vit
from transfer.correspondence.data import read_pairs
from transfer.correspondence.nearest import nearest_middles
from transfer.correspondence.recipe import PairData
from transfer.correspondence.squares import PaddedSquare

THERE = json.loads((Path(__file__).parent / "fixtures" / "sd_dino_pck.json").read_text())


@pytest.fixture(scope="session")
def digit_pairs(made_once: MadeOnce) -> Path:
    return made_once("digit_pairs", write_digit_pairs)


@pytest.fixture
def small_pairs(digit_pairs: Path, tmp_path: Path) -> Path:
    """Return one pair of each digit as the archive of SPair-71k unpacks; a copy that a test may damage."""
    whole, cut = tmp_path / "small", tmp_path / "small" / "SPair-71k"
    seen = set()
    for path in sorted((digit_pairs / "PairAnnotation" / "test").iterdir()):
        document = json.loads(path.read_text())
        if document["category"] in seen:
            continue
        seen.add(document["category"])
        images = Path("JPEGImages") / document["category"]
        (cut / "PairAnnotation" / "test").mkdir(parents=True, exist_ok=True)
        (cut / images).mkdir(parents=True)
        shutil.copy(path, cut / "PairAnnotation" / "test")
        for which in ("src", "trg"):
            shutil.copy(digit_pairs / images / document[f"{which}_imname"], cut / images)
    return whole


def command(data: Path, *overrides: str) -> list[str]:
    source = ["--encoder", "random:digits_swin", "layer=2", "image_size_px=64"]
    return ["transfer", "digit_pairs", f"data.root={data}", *source, *overrides]


def test_keypoints_and_pck_are_those_of_sd_dinos_own_evaluation(tmp_path: Path) -> None:
    data, vit = write_small_spair(tmp_path / "data"), write_small_vit(tmp_path / "vit")
    recipe = ["--recipe", "spair71k_nearest_sd_dino", "inference.batch_size=2", "inference.workers=0"]
    imagenets = ["normalisation={mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]}"]
    source = ["--encoder", str(vit), "--stage", "self-supervised", *imagenets]
    # The task has 18 categories, of which these are two.
    asked = ["transfer", "digit_pairs", *recipe, f"data.root={_ten_categories(data)}", *source]
    folder = trained(asked, tmp_path / "runs")
    record = record_of(folder)
    assert record.feature == "block 3: all patches"
    rows = {row["class"]: row for row in csv.DictReader((folder / "classes.csv").open())}
    for category, expected in THERE["pck"].items():
        found = [float(rows[category][f"pck{share}_percent"]) for share in ("10", "05", "01")]
        assert found == pytest.approx(expected, abs=1e-4)
    points: dict[str, list[tuple[float, float]]] = {}
    for row in csv.DictReader((folder / "keypoints.csv").open()):
        points.setdefault(row["pair"], []).append((float(row["x"]), float(row["y"])))
    square, checked = PaddedSquare(SIDE_PX), 0
    for pair in read_pairs(data, PairData(), None).test:
        if (expected := THERE["points"].get(pair.source.stem[:-3])) is None or "copy" in pair.annotation.category:
            continue
        size = pair.annotation.trg_imsize[:2]
        # Keypoints are numbered there by their place among those of the category, here as the pair lists them.
        found = square.points(np.array(points[pair.name]), *size)[:, ::-1]
        np.testing.assert_allclose(found, expected["found"], atol=0.02)
        true = square.points(np.array(pair.annotation.trg_kps), *size)[:, ::-1]
        np.testing.assert_allclose(true, expected["true"], atol=1e-3)
        checked += len(found)
    assert checked == 26


def _ten_categories(data: Path) -> Path:
    """Add categories in which each pair is a copy of the same one, so that they are ten."""
    path = sorted((data / "PairAnnotation" / "test").iterdir())[1]
    document = json.loads(path.read_text())
    for number in range(8):
        category = f"copy{number}"
        shutil.copytree(data / "JPEGImages" / document["category"], data / "JPEGImages" / category)
        (path.parent / f"9{number}:{category}.json").write_text(json.dumps({**document, "category": category}))
    return data


def test_the_nearest_patch_is_that_of_brute_force() -> None:
    draw = np.random.RandomState(2)
    patches, others, points = draw.randn(36, 5), draw.randn(36, 5), draw.rand(9, 2) * 84
    found = nearest_middles(torch.tensor(patches), torch.tensor(others), points, 6, 84)
    for (x, y), place in zip(points, found, strict=True):
        own = patches[int(y // 14) * 6 + int(x // 14)]
        cosines = [own @ each / np.linalg.norm(own) / np.linalg.norm(each) for each in others]
        row, column = divmod(int(np.argmax(cosines)), 6)
        assert place.tolist() == [column * 14 + 6.5, row * 14 + 6.5]


@pytest.mark.parametrize(("width", "height"), [(200, 100), (100, 200), (90, 90), (64, 63), (500, 375)])
def test_points_lie_where_the_padded_image_shows_them(width: int, height: int) -> None:
    from PIL import Image

    square, dot = PaddedSquare(256), (width // 3, height // 4)
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[dot[1] - 1 : dot[1] + 2, dot[0] - 1 : dot[0] + 2] = 255
    drawn = np.asarray(square(Image.fromarray(pixels)), float)[..., 0]
    assert drawn.shape == (256, 256)
    rows, columns = np.mgrid[:256, :256]
    middle = np.array([(drawn * columns).sum(), (drawn * rows).sum()]) / drawn.sum()
    expected = square.points(np.array([dot], float) + 0.5, width, height)[0] - 0.5
    assert np.abs(middle - expected).max() < 0.8
    np.testing.assert_allclose(square.back(square.points(np.array([dot], float), width, height), width, height), [dot])


def test_keypoints_of_the_embedded_pairs_are_related_by_an_affine_map_and_lie_on_strokes(
    digit_pairs: Path, tmp_path: Path
) -> None:
    from PIL import Image

    data = read_pairs(digit_pairs, PairData(), 10)
    assert len(data.test) == 60
    for pair in data.test:
        source, target = (np.array(points) for points in (pair.annotation.src_kps, pair.annotation.trg_kps))
        ones = np.column_stack([source, np.ones(len(source))])
        solved, *_ = np.linalg.lstsq(ones, target, rcond=None)
        np.testing.assert_allclose(ones @ solved, target, atol=2e-3)
        for path, points in ((pair.source, source), (pair.target, target)):
            grey = np.asarray(Image.open(path).convert("L"), float)
            columns, rows = points.round().astype(int).T
            assert np.median(grey[rows, columns]) > np.median(grey) + 30
    assert write_digit_pairs(tmp_path / "again") == write_digit_pairs(digit_pairs)


def test_a_run_is_proved_by_its_tables_and_shown(small_pairs: Path, tmp_path: Path) -> None:
    folder = trained(command(small_pairs), tmp_path / "runs")
    record, rows = record_of(folder), list(csv.DictReader((folder / "keypoints.csv").open()))
    hits = {row["pair"]: list[bool]() for row in rows}
    for row in rows:
        apart = np.hypot(float(row["x"]) - float(row["true_x"]), float(row["y"]) - float(row["true_y"]))
        hits[row["pair"]].append(apart < 0.1 * float(row["box_side"]))
    score = 100 * np.mean([np.mean(each) for each in hits.values()])
    assert record.metrics["pck10"].last == pytest.approx(score)
    assert record.metrics["pck10_image"].last == pytest.approx(score), "one pair of each category"
    assert (record.training_images, record.data.images) == (0, 20)
    assert mimbench.main(["report", "leaderboard", str(tmp_path / "runs"), "--out", str(tmp_path / "report")]) == 0
    asked = ["show", str(folder), "--data", f"digit_pairs={small_pairs}", "--out", str(tmp_path / "shown")]
    assert mimbench.main(asked) == 0
    assert f"{sum(next(iter(hits.values())))} of 8 in place" in (tmp_path / "shown" / "show.html").read_text()


def changed(**fields: Any) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        path = min((root / "PairAnnotation" / "test").iterdir())
        path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))

    return change


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (changed(src_kps=[[1, 2]]), "as many points on both images"),
        (changed(trg_bndbox=[5, 5, 5, 5]), "a box that is not empty"),
        (changed(mirror=1), "mirror"),
        (changed(category="../../etc"), "a name without folders"),
        (changed(src_imname="gone.jpg"), "gone.jpg"),
        (changed(trg_imsize=[64, 60, 3]), "images of the sizes in their annotations"),
        (lambda root: min((root / "PairAnnotation" / "test").iterdir()).write_text("[]"), "the annotation of a pair"),
        (lambda root: min((root / "PairAnnotation" / "test").iterdir()).unlink(), "10 categories, as the task has"),
        (lambda root: shutil.rmtree(root / "PairAnnotation"), "unpack the archive of SPair-71k"),
    ],
)
def test_pairs_that_cannot_be_are_refused_by_name(
    small_pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: Callable[[Path], None], words: str
) -> None:
    damage(small_pairs / "SPair-71k")
    assert mimbench.main([*command(small_pairs), "--runs", str(tmp_path / "runs")]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("override", "words"), [("layer=99", "at most 8, the encoder's blocks"), ("image_size_px=66", "image_size_px")]
)
def test_what_the_encoder_has_not_is_refused(
    small_pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], override: str, words: str
) -> None:
    assert mimbench.main([*command(small_pairs, override), "--runs", str(tmp_path / "runs")]) == 2
    assert words in capsys.readouterr().err


def test_a_damaged_picture_is_named_and_its_pair_left_out(digit_pairs: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(digit_pairs, data)
    broken = min((data / "JPEGImages" / "digit3").iterdir())
    broken.write_bytes(broken.read_bytes()[:200])
    trained(command(data), tmp_path / "runs")
    folder = only_run(tmp_path / "runs")
    (named,) = record_of(folder).data.unreadable
    assert broken.name in named
    rows = {row["class"]: int(row["pairs"]) for row in csv.DictReader((folder / "classes.csv").open())}
    assert (rows["digit3"], rows["digit4"]) == (5, 6)
