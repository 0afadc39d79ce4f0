"""Masks against counting, chance, and the settings of SimMIM's table 1."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from benchmarks.errors import UserError
from pretrain.masking import BlockwiseMask, PatchMask, RandomMask, SquareMask


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


@pytest.mark.parametrize(("size", "ratio"), [(16, 0.4), (16, 0.6), (32, 0.4), (32, 0.6)])
def test_blocks_hang_together_where_random_cells_do_not(size: int, ratio: float) -> None:
    """Of two neighbours a hidden one makes the other likelier hidden by far; in random masks a bit less likely."""
    side = 192 // size
    cells = BlockwiseMask(mask_patch_size_px=size, mask_ratio=ratio).cells(500, side, torch.Generator().manual_seed(0))
    share = math.ceil(ratio * side**2) / side**2
    both = (cells[:, :, 1:] & cells[:, :, :-1]).float().mean().item() / share
    assert both > share + 0.4 * (1 - share)


def test_a_block_is_no_smaller_than_beits_while_as_much_is_left() -> None:
    """With a ratio of 0.12 of 12 x 12 cells, 18 are hidden: one rectangle of 16 cells or more, and up to two others."""
    cells = BlockwiseMask(mask_patch_size_px=16, mask_ratio=0.12).cells(300, 12, torch.Generator().manual_seed(0))
    for each in cells.numpy():
        best = max(
            height * width
            for height in range(1, 12)
            for width in range(1, 12)
            if (np.lib.stride_tricks.sliding_window_view(each, (height, width)).all(axis=(2, 3))).any()
        )
        assert best >= 12, "16 cells of aspect 0.3 to 1 / 0.3, sides rounded: 2 x 7 at least, 12 after rounding down"


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
