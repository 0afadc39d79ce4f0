"""Masks against counting, chance, and the settings of SimMIM's table 1."""

from __future__ import annotations

import math
from random import Random

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from benchmarks.errors import UserError
from pretrain.method.avg_dist import avg_dist
from pretrain.method.masking import BlockwiseMask, PatchMask, RandomMask, SquareMask


def sample(mask: PatchMask, batch: int, seed: int = 0) -> torch.Tensor:
    return mask.sample(batch, 192, 4, torch.Generator().manual_seed(seed))


def cells_of(masks: torch.Tensor, mask_patch_size_px: int) -> torch.Tensor:
    """Return masks [B, side, side] on the grid of squares, after checking that each is hidden or shown as a whole."""
    scale = mask_patch_size_px // 4
    side = 48 // scale
    squares = masks.view(-1, side, scale, side, scale).permute(0, 1, 3, 2, 4).flatten(3)
    assert (squares.all(-1) | ~squares.any(-1)).all(), "a square is hidden or shown as a whole"
    return squares[..., 0]


def test_simmim_default_hides_22_of_36_cells_in_every_image() -> None:
    masks = sample(RandomMask(mask_patch_size_px=32, mask_ratio=0.6), 50)
    assert masks.shape == (50, 48, 48)
    assert masks.dtype == torch.bool
    assert (cells_of(masks, 32).flatten(1).sum(1) == 22).all(), "ceil(0.6 * 36) = 22"


@pytest.mark.parametrize("size", [4, 8, 16, 32, 64])
@pytest.mark.parametrize("ratio", [0.1, 0.3, 0.5, 0.8])
@pytest.mark.parametrize("kind", [RandomMask, BlockwiseMask])
def test_ratio_is_rounded_up_to_whole_cells(kind: type[PatchMask], size: int, ratio: float) -> None:
    hidden = cells_of(sample(kind(mask_patch_size_px=size, mask_ratio=ratio), 3), size)
    assert (hidden.flatten(1).sum(1) == math.ceil(ratio * (192 // size) ** 2)).all()


def assert_uniform(counts: torch.Tensor, draws: int, share: float) -> None:
    """Each cell is hidden with this probability: chi-square, 99.9 %. Fixed row sums correlate cells negatively, which
    the factor (c - 1) / c corrects; it makes the statistic chi-square of c - 1 degrees of freedom."""
    from scipy.stats import chi2

    cells = counts.numel()
    variance = draws * share * (1 - share)
    statistic = ((counts.double() - draws * share) ** 2).sum() / variance * (cells - 1) / cells
    assert statistic < chi2.ppf(0.999, cells - 1)


@pytest.mark.parametrize(("size", "hidden"), [(32, 22), (16, 87), (64, 6)])
def test_random_cells_are_hidden_uniformly(size: int, hidden: int) -> None:
    draws, side = 20_000, 192 // size
    cells = RandomMask(mask_patch_size_px=size).cells(draws, side, torch.Generator().manual_seed(0))
    assert_uniform(cells.sum(0), draws, hidden / side**2)


@pytest.mark.parametrize(("ratio", "side"), [(0.11, 2), (0.25, 3), (0.44, 4)])
def test_square_is_one_region_at_every_place_equally_often(ratio: float, side: int) -> None:
    draws = 20_000
    mask = SquareMask(mask_patch_size_px=32, mask_ratio=ratio)
    cells = mask.cells(draws, 6, torch.Generator().manual_seed(0)).numpy()
    assert round(side**2 / 36, 2) == ratio, "the paper's ratios are whole squares of a 6 x 6 grid"
    corners = np.array([np.argwhere(each)[[0, -1]] for each in cells])  # first and last hidden cell
    assert (cells.sum(axis=(1, 2)) == side**2).all()
    assert (corners[:, 1] - corners[:, 0] == side - 1).all(), "as many cells, within as wide a frame: a full square"
    places = (7 - side) ** 2
    _, counts = np.unique(corners[:, 0], axis=0, return_counts=True)
    assert len(counts) == places
    expected = draws / places
    assert ((counts - expected) ** 2 / expected).sum() < places + 4 * math.sqrt(2 * places), "chi-square, 4 sigma"


def beit_mask(side: int, count: int, least: float, random: Random) -> NDArray[np.bool_]:
    """BEiT's algorithm for one image, one rectangle after the other (arXiv:2106.08254, algorithm 1, and its code)."""
    hidden = np.zeros((side, side), dtype=bool)
    while left := count - int(hidden.sum()):
        for _ in range(10):
            area, aspect = random.uniform(least, left), math.exp(random.uniform(math.log(0.3), -math.log(0.3)))
            height, width = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if height >= side or width >= side:
                continue
            top, first = random.randint(0, side - height), random.randint(0, side - width)
            block = hidden[top : top + height, first : first + width]
            if 0 < block.size - block.sum() <= left:
                block[:] = True
                break
        else:
            return hidden
    return hidden


@pytest.mark.parametrize(("size", "ratio"), [(16, 0.4), (16, 0.6), (16, 0.8), (32, 0.4), (32, 0.6)])
def test_blockwise_masks_of_a_batch_are_distributed_as_beits_one_by_one(size: int, ratio: float) -> None:
    draws, side, random = 1500, 192 // size, Random(0)
    count, least = math.ceil(ratio * side**2), (64 / size) ** 2
    theirs = np.stack([beit_mask(side, count, least, random) for _ in range(draws)])
    mask = BlockwiseMask(mask_patch_size_px=size, mask_ratio=ratio)
    ours = mask.cells(draws, side, torch.Generator().manual_seed(0)).numpy()
    assert avg_dist(ours) == pytest.approx(avg_dist(theirs), rel=0.02)
    # BEiT stops a square or two short where rectangles no longer fit; the rest is chance, at 4 standard deviations.
    short = (count - theirs.sum(axis=(1, 2)).mean()) / side**2
    assert 0 <= short < 0.015
    assert np.abs(ours.mean(0) - theirs.mean(0)).max() < short + 4 * math.sqrt(2 * 0.25 / draws)


@pytest.mark.parametrize("mask", [RandomMask(), SquareMask(), BlockwiseMask()], ids=lambda mask: mask.kind)
def test_same_generator_same_masks(mask: PatchMask) -> None:
    assert sample(mask, 40, seed=1).equal(sample(mask, 40, seed=1))
    assert not sample(mask, 40, seed=1).equal(sample(mask, 40, seed=2))


@pytest.mark.parametrize(("size", "word"), [(40, "divisor"), (6, "multiple"), (192, "leaves one of the 1 squares")])
def test_squares_must_fit(size: int, word: str) -> None:
    with pytest.raises(UserError, match=word):
        RandomMask(mask_patch_size_px=size).check(192, 4)


@pytest.mark.parametrize("mask", [RandomMask(mask_patch_size_px=64, mask_ratio=0.9), SquareMask(mask_ratio=0.9)])
def test_something_must_stay_visible(mask: PatchMask) -> None:
    with pytest.raises(UserError, match=r"masking\.mask_ratio = 0\.9\n.*visible"):
        mask.check(192, 4)
