"""Bias tables between windows: each mode against the code it is named after, or its published formula."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.interpolate import RectBivariateSpline
from torch import Tensor
from torch.nn.functional import interpolate

from benchmarks.families.windows.position_tables import Size, TableMode, axis_matrix, resize_table

MODES: tuple[TableMode, ...] = get_args(TableMode)
WINDOWS = [((6, 6), (7, 7)), ((12, 12), (14, 14)), ((7, 7), (12, 12)), ((14, 14), (7, 7)), ((8, 8), (24, 24))]
INTERP2D = [0.337808393812, 0.441134671996, -0.315841116814, 0.292334244750, -0.576403388628]
RECTANGLES = [((6, 12), (7, 14)), ((7, 7), (7, 12)), ((12, 6), (8, 7))]


def table(window: Size, smooth: bool, heads: int = 3, extra: int = 0) -> Tensor:
    """Return a table in float64, random or the kind that training leaves: a bump around offset 0."""
    rows, columns = (np.arange(-side + 1, side) for side in window)
    if not smooth:
        torch.manual_seed(5)
        return torch.randn(len(rows) * len(columns) + extra, heads, dtype=torch.float64)
    distance = np.hypot(rows[:, None], columns[None, :])
    bumps = [np.exp(-distance / (2 + head)) + 0.1 * np.sin(columns + head)[None, :] for head in range(heads)]
    return torch.from_numpy(np.stack(bumps, axis=-1).reshape(-1, heads))


def published_grid(terms: int, reach: int) -> NDArray[np.float64]:
    """Return the geometric grid as published: the k-th offset at (1 - q^k) / (1 - q), q by bisection to 1e-6."""

    def reached(ratio: float, count: int) -> float:
        return float((1 - ratio**count) / (1 - ratio))

    left, right, ratio = 1.01, 1.5, 0.0
    while right - left > 1e-6:
        ratio = (left + right) / 2
        if reached(ratio, terms) > reach:
            right = ratio
        else:
            left = ratio
    half = [reached(ratio, count) for count in range(1, terms + 1)]
    return np.array([-place for place in reversed(half)] + [0.0] + half)


def by_fitpack(source: Tensor, from_window: Size, to_window: Size) -> Tensor:
    """Evaluate FITPACK's bicubic spline through the grid: what `interp2d(kind="cubic")` called, on a grid, before 1.14.

    An axis that keeps its length keeps its places.
    """
    sides = [
        published_grid(have - 1, want - 1) if have != want else np.arange(-have + 1.0, have)
        for have, want in zip(from_window, to_window, strict=True)
    ]
    wanted = [np.arange(-want + 1.0, want) for want in to_window]
    lengths = [len(side) for side in sides]
    heads = [
        RectBivariateSpline(*sides, head.reshape(lengths).numpy(), kx=3, ky=3, s=0)(*wanted).ravel()
        for head in source.unbind(1)
    ]
    return torch.from_numpy(np.stack(heads, axis=1))


@pytest.mark.parametrize("smooth", [True, False])
@pytest.mark.parametrize(("from_window", "to_window"), WINDOWS + RECTANGLES)
def test_geometric_cubic_is_the_published_formula(from_window: Size, to_window: Size, smooth: bool) -> None:
    source = table(from_window, smooth)
    found = resize_table(source, from_window, to_window, "geometric-cubic")
    assert found.shape == ((2 * to_window[0] - 1) * (2 * to_window[1] - 1), 3)
    torch.testing.assert_close(found, by_fitpack(source, from_window, to_window), rtol=0, atol=1e-11)


def test_geometric_cubic_gives_the_numbers_of_interp2d() -> None:
    """Computed once by SciPy 1.11.4, the last line with `interp2d`, on the official grid (q = 1.0912813 for 6 -> 7)."""
    i = torch.arange(11, dtype=torch.float64)
    source = torch.sin(0.5 * i)[:, None] * torch.cos(0.3 * i)[None, :] + 0.01 * torch.outer(i, i)
    found = resize_table(source.reshape(-1, 1), (6, 6), (7, 7), "geometric-cubic").reshape(13, 13)
    places = found[[1, 2, 5, 6, 11], [1, 4, 9, 6, 3]].tolist()
    assert places == pytest.approx(INTERP2D, abs=1e-11)


def test_the_centre_and_the_ends_keep_their_values() -> None:
    """Offset 0 lies on the grid, and the grid's ends are the farthest offsets (up to q's tolerance)."""
    matrix = axis_matrix(11, 13, "geometric-cubic")
    assert matrix[6] == pytest.approx(np.eye(11)[5], abs=1e-12)
    assert matrix[0] == pytest.approx(np.eye(11)[0], abs=1e-4)
    assert matrix[12] == pytest.approx(np.eye(11)[10], abs=1e-4)


@pytest.mark.parametrize(("mode", "torch_mode"), [("bicubic", "bicubic"), ("linear", "bilinear")])
@pytest.mark.parametrize(("from_window", "to_window"), WINDOWS + RECTANGLES)
def test_the_plain_modes_are_torch_on_the_table(
    mode: TableMode, torch_mode: str, from_window: Size, to_window: Size
) -> None:
    """As Swin's and Video-Swin's loading code does: no aligned corners, no antialiasing."""
    source = table(from_window, smooth=False)
    have, want = ((2 * window[0] - 1, 2 * window[1] - 1) for window in (from_window, to_window))
    image = source.T.reshape(1, 3, *have)
    expected = interpolate(image, size=want, mode=torch_mode, align_corners=False).reshape(3, -1).T
    torch.testing.assert_close(resize_table(source, from_window, to_window, mode), expected, rtol=0, atol=1e-12)


def test_linear_is_numpys_interpolation_at_half_pixel_centres() -> None:
    source = table((6, 6), smooth=False, heads=1)
    centres = (np.arange(13) + 0.5) * 11 / 13 - 0.5
    rows = np.stack([np.interp(centres, np.arange(11), column) for column in source.reshape(11, 11).T.numpy()], axis=1)
    expected = np.stack([np.interp(centres, np.arange(11), row) for row in rows])
    assert resize_table(source, (6, 6), (7, 7), "linear").reshape(13, 13).numpy() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("mode", MODES)
def test_the_same_window_changes_no_bit(mode: TableMode) -> None:
    source = table((7, 5), smooth=False, extra=3).float()
    assert resize_table(source, (7, 5), (7, 5), mode).equal(source)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("window", [(1, 1), (2, 2), (3, 1), (9, 4)])
def test_a_constant_table_stays_constant(mode: TableMode, window: Size) -> None:
    """Also where there are too few offsets for a cubic."""
    source = torch.full(((2 * window[0] - 1) * (2 * window[1] - 1), 2), 0.25)
    torch.testing.assert_close(resize_table(source, window, (7, 7), mode), torch.full((169, 2), 0.25))


@pytest.mark.parametrize("mode", MODES)
def test_the_class_tokens_rows_are_kept(mode: TableMode) -> None:
    source = table((14, 14), smooth=False, extra=3).float()
    found = resize_table(source, (14, 14), (16, 20), mode)
    assert found.shape == (31 * 39 + 3, 3)
    assert found[-3:].equal(source[-3:])
    assert found[:-3].equal(resize_table(source[:-3], (14, 14), (16, 20), mode))


def test_the_dtype_stays_and_gradients_flow() -> None:
    source = table((6, 6), smooth=True).bfloat16().requires_grad_()
    found = resize_table(source, (6, 6), (7, 7), "geometric-cubic")
    assert found.dtype == torch.bfloat16
    found.float().sum().backward()
    assert source.grad is not None
    assert bool((source.grad != 0).any(dim=1).all()), "every offset takes part"
