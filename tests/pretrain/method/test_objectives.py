"""Losses and their gradients against the papers' formulas in float64 NumPy."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from benchmarks.encoders import IMAGENET_MEAN, IMAGENET_STD
from benchmarks.errors import UserError
from pretrain.method.frame import Frame
from pretrain.method.masking import BlockwiseMask, RandomMask
from pretrain.method.objectives import (
    BinObjective,
    ClusterObjective,
    Denormalise,
    Objective,
    PixelObjective,
    Scope,
    at_resolution,
    locally_normalised,
)
from pretrain.method.targets import ColourBins, Pixels

CPU = torch.device("cpu")
FRAME = Frame(192, 3, IMAGENET_MEAN, IMAGENET_STD, mask_patch_size_px=32, stride_px=32, features=8)
MEAN, STD = (np.array(values)[None, :, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
SCOPES: list[Scope] = ["masked", "full"]
Array = NDArray[np.float64]
Loss = Literal["l1", "l2", "smooth_l1"]


def images_and_masks(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Return normalised 8-bit images [2, 3, 192, 192] and SimMIM's masks [2, 48, 48]."""
    random = torch.Generator().manual_seed(seed)
    levels = torch.randint(256, (2, 3, 192, 192), generator=random).double() / 255
    images = (levels - torch.from_numpy(MEAN)) / torch.from_numpy(STD)
    return images.float(), RandomMask().sample(2, 192, 4, random)


def loss_and_gradient(objective: Objective, images: torch.Tensor, hidden: torch.Tensor) -> tuple[float, Array, Array]:
    """Return loss, its gradient and the predictions they belong to."""
    size = (len(images), objective.outputs, objective.resolution_px, objective.resolution_px)
    predicted = torch.randn(size, generator=torch.Generator().manual_seed(1)).requires_grad_()
    loss = objective.loss(predicted, images, hidden)
    (gradient,) = torch.autograd.grad(loss, predicted)
    return loss.item(), gradient.double().numpy(), predicted.detach().double().numpy()


def assert_equal(found: float, gradient: Array, expected: float, expected_gradient: Array) -> None:
    assert found == pytest.approx(expected, rel=1e-6)
    largest = np.abs(expected_gradient).max()
    np.testing.assert_allclose(gradient / largest, expected_gradient / largest, atol=1e-6)


def means_of_squares(images: torch.Tensor, resolution: int) -> Array:
    square = 192 // resolution
    x = images.double().numpy()
    return x.reshape(len(x), -1, resolution, square, resolution, square).mean(axis=(3, 5))


def weights(hidden: torch.Tensor, resolution: int, scope: Scope, groups: int) -> Array:
    """Return what each error is multiplied by [B, 1, r, r]: 1 / (pixels + 1e-5) / groups where it counts."""
    on_pixels = np.kron(hidden.numpy(), np.ones((4, 4)))
    square = 192 // resolution
    counted = on_pixels.reshape(len(hidden), resolution, square, resolution, square).mean(axis=(2, 4))[:, None]
    assert set(np.unique(counted)) <= {0.0, 1.0}, "a target pixel is hidden or shown as a whole"
    if scope == "full":
        counted = np.ones_like(counted)
    return counted / (counted.sum() + 1e-5) / groups


@pytest.mark.parametrize("resolution", [6, 12, 24, 48, 96, 192])
@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("loss", ["l1", "l2", "smooth_l1"])
def test_pixels(loss: Loss, scope: Scope, resolution: int) -> None:
    images, hidden = images_and_masks()
    objective = Pixels(loss=loss, scope=scope, resolution_px=resolution).build(FRAME, CPU)
    found, gradient, y = loss_and_gradient(objective, images, hidden)
    d = y - means_of_squares(images, resolution)
    error, slope = {
        "l1": (np.abs(d), np.sign(d)),
        "l2": (d**2, 2 * d),
        "smooth_l1": (np.where(np.abs(d) < 1, d**2 / 2, np.abs(d) - 0.5), np.clip(d, -1, 1)),
    }[loss]
    weight = weights(hidden, resolution, scope, 3)
    assert_equal(found, gradient, (error * weight).sum(), slope * weight)


@pytest.mark.parametrize("scope", SCOPES)
def test_the_default_is_the_papers_l1_on_hidden_pixels(scope: Scope) -> None:
    assert (Pixels().loss, Pixels().scope, Pixels().resolution(FRAME)) == ("l1", "masked", 192)
    images, hidden = images_and_masks()
    changed = torch.where(hidden.repeat_interleave(4, 1).repeat_interleave(4, 2)[:, None], images, images + 1)
    objective = Pixels(scope=scope).build(FRAME, CPU)
    predicted = torch.zeros_like(images)
    equal = objective.loss(predicted, images, hidden) == objective.loss(predicted, changed, hidden)
    assert equal == (scope == "masked"), "visible pixels count in the full scope alone"


def sliding_norm(x: Array, window: int) -> Array:
    """Normalise each pixel by mean and unbiased variance of the window around it, by going to every pixel."""
    found, reach, side = np.empty_like(x), window // 2, x.shape[-1]
    for row in range(side):
        for column in range(side):
            rows = slice(max(0, row - reach), row + reach + 1)
            around = x[..., rows, max(0, column - reach) : column + reach + 1].reshape(*x.shape[:2], -1)
            deviation = np.sqrt(around.var(axis=-1, ddof=1) + 1e-6)
            found[..., row, column] = (x[..., row, column] - around.mean(axis=-1)) / deviation
    return found


@pytest.mark.parametrize(("resolution", "window"), [(48, 47), (96, 47), (24, 3)])
@pytest.mark.parametrize("scope", SCOPES)
def test_locally_normalised_pixels(scope: Scope, resolution: int, window: int) -> None:
    images, hidden = images_and_masks()
    objective = Pixels(scope=scope, resolution_px=resolution, local_norm_px=window).build(FRAME, CPU)
    found, gradient, y = loss_and_gradient(objective, images, hidden)
    d = y - sliding_norm(means_of_squares(images, resolution), window)
    weight = weights(hidden, resolution, scope, 3)
    assert_equal(found, gradient, (np.abs(d) * weight).sum(), np.sign(d) * weight)


def test_local_normalisation_of_an_even_image_is_zero_and_finite() -> None:
    assert locally_normalised(torch.full((1, 3, 48, 48), 2.7), 47).abs().max() < 1e-3
    assert locally_normalised(torch.full((1, 3, 1, 1), 2.7), 47).isfinite().all()


def cross_entropy(scores: Array, classes: NDArray[np.int64]) -> tuple[Array, Array]:
    """Return -log softmax at the class, and its gradient, over axis 1 of scores [B, K, ...]."""
    shifted = np.exp(scores - scores.max(axis=1, keepdims=True))
    shares = shifted / shifted.sum(axis=1, keepdims=True)
    chosen = np.take_along_axis(shares, classes[:, None], axis=1)
    return -np.log(chosen[:, 0]), shares - (np.arange(scores.shape[1]).reshape(1, -1, 1, 1) == classes[:, None])


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize(("bins", "resolution"), [(8, 192), (8, 48), (256, 48)])
def test_colour_bins(bins: int, resolution: int, scope: Scope) -> None:
    """SimMIM's three settings: 8 bins at 192 and 48 px, 256 at 48 px."""
    images, hidden = images_and_masks()
    objective = ColourBins(bins=bins, scope=scope, resolution_px=resolution).build(FRAME, CPU)
    assert isinstance(objective, BinObjective)
    found, gradient, y = loss_and_gradient(objective, images, hidden)
    levels = means_of_squares((images.double() * torch.from_numpy(STD) + torch.from_numpy(MEAN)) * 255, resolution)
    levels = np.round(levels * 256) / 256  # means of whole levels over 1 or 16 pixels
    classes = (levels * bins // 256).astype(np.int64)
    assert (objective.classes(images).numpy() == classes).all()
    weight, expected, slopes = weights(hidden, resolution, scope, 3), 0.0, []
    for channel in range(3):
        error, slope = cross_entropy(y[:, channel * bins : (channel + 1) * bins], classes[:, channel])
        expected += (error[:, None] * weight).sum()
        slopes.append(slope * weight)
    assert_equal(found, gradient, expected, np.concatenate(slopes, axis=1))


@pytest.mark.parametrize("bins", [8, 256])
def test_every_8_bit_level_falls_into_its_bin(bins: int) -> None:
    """Also the levels on an edge, after normalisation and back in fp32."""
    levels = torch.arange(256).view(1, 1, 16, 16).expand(1, 3, 16, 16)
    mean, std = torch.tensor(IMAGENET_MEAN)[:, None, None], torch.tensor(IMAGENET_STD)[:, None, None]
    objective = BinObjective(3, 16, "full", bins, Denormalise(IMAGENET_MEAN, IMAGENET_STD, CPU))
    assert objective.classes((levels / 255 - mean) / std).equal(levels // (256 // bins))


@pytest.mark.parametrize("scope", SCOPES)
def test_colour_clusters(scope: Scope) -> None:
    from scipy.spatial import cKDTree

    images, hidden = images_and_masks()
    palette = torch.rand(512, 3, generator=torch.Generator().manual_seed(2))
    objective = ClusterObjective(48, scope, palette, Denormalise(IMAGENET_MEAN, IMAGENET_STD, CPU))
    found, gradient, y = loss_and_gradient(objective, images, hidden)
    colours = means_of_squares(images.double() * torch.from_numpy(STD) + torch.from_numpy(MEAN), 48)
    _, classes = cKDTree(palette.double().numpy()).query(colours.transpose(0, 2, 3, 1))
    assert (objective.classes(images).numpy() == classes).all()
    error, slope = cross_entropy(y, classes)
    weight = weights(hidden, 48, scope, 1)
    assert_equal(found, gradient, (error[:, None] * weight).sum(), slope * weight)


@pytest.mark.parametrize("mask", [RandomMask(), BlockwiseMask(mask_patch_size_px=16)], ids=lambda mask: mask.kind)
@pytest.mark.parametrize("resolution", [12, 48, 192])
def test_a_mask_is_the_same_on_every_grid(mask: RandomMask, resolution: int) -> None:
    hidden = mask.sample(2, 192, 4, torch.Generator().manual_seed(0))
    on_pixels = np.kron(hidden.numpy(), np.ones((4, 4), dtype=bool))
    square = 192 // resolution
    assert (
        at_resolution(hidden, resolution).numpy() == on_pixels[:, square // 2 :: square, square // 2 :: square]
    ).all()


@pytest.mark.parametrize("resolution", [3, 5, 18, 40, 384])
def test_a_resolution_that_does_not_divide_is_refused(resolution: int) -> None:
    with pytest.raises(UserError, match=rf"target\.resolution_px = {resolution}\n(.|\n)*one of 6, 12, 24, 48, 96, 192"):
        Pixels(resolution_px=resolution).build(FRAME, CPU)


def test_target_pixels_larger_than_a_masked_patch_are_refused() -> None:
    """A target pixel of 32 px would be half hidden by a mask of 16 px."""
    frame = Frame(192, 3, IMAGENET_MEAN, IMAGENET_STD, mask_patch_size_px=16, stride_px=32, features=8)
    with pytest.raises(UserError, match=r"masking\.mask_patch_size_px"):
        Pixels(resolution_px=6).build(frame, CPU)
    assert Pixels(resolution_px=12).build(frame, CPU).resolution_px == 12


def test_bf16_predictions_are_compared_in_fp32() -> None:
    images, hidden = images_and_masks()
    objective = PixelObjective(3, 192, "masked", "l1", None)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = objective.loss(torch.zeros_like(images).bfloat16(), images, hidden)
    assert loss.dtype == torch.float32
    assert loss == objective.loss(torch.zeros_like(images), images, hidden)
