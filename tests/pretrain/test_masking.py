"""Random masks against counting and chance."""

from __future__ import annotations

import pytest
import torch

from benchmarks.errors import UserError
from pretrain.masking import RandomMask


def sample(mask: RandomMask, batch: int, seed: int = 0) -> torch.Tensor:
    return mask.sample(batch, 192, 4, torch.Generator().manual_seed(seed))


def test_simmim_default_hides_22_of_36_cells_in_every_image() -> None:
    masks = sample(RandomMask(mask_patch_size_px=32, mask_ratio=0.6), 50)
    assert masks.shape == (50, 48, 48)
    assert masks.dtype == torch.bool
    cells = masks.view(50, 6, 8, 6, 8).permute(0, 1, 3, 2, 4).reshape(50, 36, 64)
    assert ((cells.sum(-1) == 64) | (cells.sum(-1) == 0)).all(), "a cell is hidden or shown as a whole"
    assert (cells[..., 0].sum(-1) == 22).all(), "ceil(0.6 * 36) = 22"


@pytest.mark.parametrize(("ratio", "hidden"), [(0.1, 4), (0.5, 18), (0.9, 33)])
def test_ratio_is_rounded_up_to_whole_cells(ratio: float, hidden: int) -> None:
    masks = sample(RandomMask(mask_patch_size_px=32, mask_ratio=ratio), 3)
    assert (masks.flatten(1).sum(1) == hidden * 64).all()


def test_cells_are_hidden_uniformly() -> None:
    draws, cells, hidden = 20_000, 36, 22
    counts = sample(RandomMask(), draws)[:, ::8, ::8].flatten(1).sum(0).double()
    expected = draws * hidden / cells
    # Per cell a binomial variance n p (1 - p); fixed row sums correlate cells, which the factor (c - 1) / c corrects.
    p = hidden / cells
    statistic = ((counts - expected) ** 2).sum() / (draws * p * (1 - p)) * (cells - 1) / cells
    assert statistic < 66.6, "chi-square, 35 degrees of freedom, 99.9 %"


def test_same_generator_same_masks() -> None:
    assert sample(RandomMask(), 4, seed=1).equal(sample(RandomMask(), 4, seed=1))
    assert not sample(RandomMask(), 4, seed=1).equal(sample(RandomMask(), 4, seed=2))


@pytest.mark.parametrize(("size", "word"), [(40, "divisor"), (6, "multiple")])
def test_squares_must_fit(size: int, word: str) -> None:
    with pytest.raises(UserError, match=word):
        RandomMask(mask_patch_size_px=size).check(192, 4)
