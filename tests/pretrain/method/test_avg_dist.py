"""AvgDist against a computation over all pairs of pixels, and against what SimMIM's authors report."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

import mimbench
from pretrain.method.avg_dist import avg_dist
from pretrain.method.masking import BlockwiseMask, PatchMask, RandomMask, SquareMask


def brute_force(hidden: np.ndarray) -> float:
    nearest = []
    for mask in hidden:
        from_hidden = np.argwhere(mask)[:, None] - np.argwhere(~mask)[None]
        nearest += np.sqrt((from_hidden**2).sum(-1)).min(1).tolist()
    return float(np.mean(nearest))


@pytest.mark.parametrize("kind", [RandomMask, SquareMask, BlockwiseMask])
def test_equals_all_pairs(kind: type[PatchMask]) -> None:
    mask = kind(mask_patch_size_px=4, mask_ratio=0.5)
    hidden = mask.sample(3, 32, 1, torch.Generator().manual_seed(0)).numpy()
    assert avg_dist(hidden) == pytest.approx(brute_force(hidden), rel=1e-12)


def test_one_hidden_square_by_hand() -> None:
    hidden = np.zeros((9, 9), dtype=bool)
    hidden[3:6, 3:6] = True
    assert avg_dist(hidden) == pytest.approx((8 * 1 + 2) / 9), "eight pixels touch what is visible, the middle is at 2"


@pytest.mark.parametrize("everything", [True, False])
def test_needs_hidden_and_visible_pixels(everything: bool) -> None:
    with pytest.raises(ValueError, match="visible pixel"):
        avg_dist(np.full((2, 4, 4), everything))


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("report")
    assert mimbench.main(["masking", "--out", str(out), "--masks", "20"]) == 0
    return out


def test_order_of_strategies_is_the_papers(report: Path) -> None:
    """SimMIM, figure 3a and the text on it: AvgDist grows with ratio and with the masked patch; square and block-wise
    masks lie near random ones of 64 px; the good settings lie at 10 to 20 px."""
    with (report / "masking.csv").open() as file:
        rows = list(csv.DictReader(file))
    at = {
        (row["strategy"], int(row["mask_patch_size_px"]), float(row["mask_ratio"])): float(row["avg_dist_px"])
        for row in rows
    }
    for ratio in (0.4, 0.5, 0.6, 0.7, 0.8):
        by_size = [at["random", size, ratio] for size in (4, 8, 16, 32, 64)]
        assert by_size == sorted(by_size)
        others = [at["square", 32, ratio], at["blockwise", 16, ratio], at["blockwise", 32, ratio]]
        assert min(others) > at["random", 32, ratio]
    for size in (4, 8, 16, 32, 64):
        by_ratio = [at["random", size, tenths / 10] for tenths in range(1, 9)]
        assert by_ratio == sorted(by_ratio)
    good = [at["random", 32, 0.5], at["random", 32, 0.6], at["random", 16, 0.8], at["random", 64, 0.1]]
    assert all(10 <= distance <= 20.5 for distance in good)
    assert at["random", 4, 0.8] < 5


def test_figure_is_a_picture(report: Path) -> None:
    from PIL import Image

    with Image.open(report / "masking.png") as image:
        assert np.asarray(image.convert("L")).std() > 10


@pytest.mark.parametrize(("option", "value"), [("--image-size", "100"), ("--masks", "0")])
def test_a_wrong_option_is_explained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, value: str
) -> None:
    assert mimbench.main(["masking", "--out", str(tmp_path), option, value]) == mimbench.WRONG
    assert f"{option} = {value}" in capsys.readouterr().err
