"""From predictions and images to a loss, computed in fp32 whatever the precision of the forward pass."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.errors import UserError
from pretrain.method.dvae import Dvae
from pretrain.method.tokenizer import Tokenizer

Scope = Literal["masked", "full"]
PixelLoss = Literal["l1", "l2", "smooth_l1"]


class Objective(ABC):
    """What a head has to predict, and the loss of a prediction."""

    def __init__(self, outputs: int, resolution_px: int, scope: Scope) -> None:
        """`outputs` values are predicted for each of the resolution_px x resolution_px target pixels."""
        self.outputs, self.resolution_px, self.scope = outputs, resolution_px, scope

    @abstractmethod
    def errors(self, predicted: Tensor, images: Tensor) -> Tensor:
        """Return errors [B, G, r, r] of predictions [B, K, r, r] for images [B, C, S, S], G per target pixel."""

    @abstractmethod
    def colours(self, predicted: Tensor, images: Tensor, on_screen: Denormalise) -> Tensor:
        """Return predictions [B, K, r, r] for images [B, C, S, S] as colours [B, C, r, r] on a scale of 0 to 1.

        Raises UserError where what is predicted has no colour.
        """

    def loss(self, predicted: Tensor, images: Tensor, hidden: Tensor) -> Tensor:
        """Return the scalar loss; `hidden` [B, h, w] bool is on the encoder's patch grid.

        It is sum of errors / (number of target pixels + 1e-5) / G, over the hidden target pixels or, with scope
        `full`, over all. Source: SimMIM (arXiv:2111.09886), equation 1, as microsoft/SimMIM computes it.
        """
        errors = self.errors(predicted.float(), images.float())
        if self.scope == "full":
            return errors.sum() / (errors[:, :1].numel() + 1e-5) / errors.shape[1]
        counted = at_resolution(hidden, self.resolution_px).unsqueeze(1)
        return (errors * counted).sum() / (counted.sum() + 1e-5) / errors.shape[1]


def at_resolution(hidden: Tensor, resolution_px: int) -> Tensor:
    """Return a mask [B, h, w] of whole squares on a finer or coarser grid [B, r, r] that the squares tile too."""
    rows = torch.arange(resolution_px, device=hidden.device) * hidden.shape[-1] // resolution_px
    return hidden[:, rows][:, :, rows]


def coarser(images: Tensor, resolution_px: int) -> Tensor:
    """Return images [B, C, r, r] whose pixels are the means of squares of images [B, C, S, S]."""
    square = images.shape[-1] // resolution_px
    return images if square == 1 else functional.avg_pool2d(images, square)


class PixelObjective(Objective):
    """Regression of pixels."""

    def __init__(
        self, channels: int, resolution_px: int, scope: Scope, loss: PixelLoss, local_norm_px: int | None
    ) -> None:
        super().__init__(channels, resolution_px, scope)
        self._distance, self.local_norm_px = _DISTANCES[loss], local_norm_px

    def target(self, images: Tensor) -> Tensor:
        """Return the values [B, C, r, r] to predict for images [B, C, S, S]."""
        target = coarser(images, self.resolution_px)
        return target if self.local_norm_px is None else locally_normalised(target, self.local_norm_px)

    def errors(self, predicted: Tensor, images: Tensor) -> Tensor:
        return self._distance(predicted, self.target(images))

    def loss_at(self, predicted: Tensor, images: Tensor, places: Tensor, grid: int) -> Tensor:
        """Return `loss` where whole tokens of a grid are hidden, of the predictions for these alone.

        `predicted` [B, M, C * s * s] belongs to the tokens at `places` [B, M], s x s target pixels to a token.
        """
        side = self.resolution_px // grid
        squares = self.target(images.float()).reshape(*images.shape[:2], grid, side, grid, side)
        rows, columns = places // grid, places % grid
        images_of = torch.arange(len(places), device=places.device).unsqueeze(1)
        target = squares.permute(0, 2, 4, 1, 3, 5)[images_of, rows, columns].flatten(2)
        errors = self._distance(predicted.float(), target)
        return errors.sum() / (places.numel() * side**2 + 1e-5) / images.shape[1]

    def colours(self, predicted: Tensor, images: Tensor, on_screen: Denormalise) -> Tensor:
        """Return predictions as colours; what a local norm took away is put back from the true image."""
        if self.local_norm_px is not None:
            local = _local_statistics(coarser(images, self.resolution_px), self.local_norm_px)
            predicted = (predicted.double() * local.deviation + local.mean).to(predicted.dtype)
        return on_screen(predicted)


_DISTANCES: dict[PixelLoss, Callable[[Tensor, Tensor], Tensor]] = {
    "l1": lambda predicted, target: (predicted - target).abs(),
    "l2": lambda predicted, target: (predicted - target).square(),
    "smooth_l1": lambda predicted, target: functional.smooth_l1_loss(predicted, target, reduction="none"),
}


def locally_normalised(images: Tensor, window_px: int) -> Tensor:
    """Return (x - mean) / sqrt(variance + 1e-6) over the window around each pixel, per channel, borders cut off.

    The variance is the unbiased one. Source: SwinV2 (arXiv:2111.09883), as microsoft/Swin-Transformer computes it for
    SimMIM.
    """
    local = _local_statistics(images, window_px)
    return ((images.double() - local.mean) / local.deviation).to(images.dtype)


@dataclass(frozen=True)
class _LocalStatistics:
    """Mean and deviation in the window around each pixel, [B, C, S, S] fp64 each."""

    mean: Tensor
    deviation: Tensor
    """sqrt(variance + 1e-6)"""


def _local_statistics(images: Tensor, window_px: int) -> _LocalStatistics:
    """Return the statistics of images [B, C, S, S], by differences of running sums, in fp64 since these cancel."""
    side, reach = images.shape[-1], window_px // 2
    place = torch.arange(side, device=images.device)
    first, after = (place - reach).clamp(min=0), (place + reach + 1).clamp(max=side)
    count = (after - first).double().outer((after - first).double())

    def window_sums(values: Tensor) -> Tensor:
        running = functional.pad(values.cumsum(dim=-1).cumsum(dim=-2), (1, 0, 1, 0))
        rows = running[..., after, :] - running[..., first, :]
        return rows[..., after] - rows[..., first]

    exact = images.double()
    mean = window_sums(exact) / count
    variance = (window_sums(exact.square()) / count - mean.square()) * count / (count - 1).clamp(min=1)
    return _LocalStatistics(mean, (variance.clamp(min=0) + 1e-6).sqrt())


class Denormalise:
    """Brings normalised images [B, C, H, W] back to a scale of 0 to 1."""

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...], device: torch.device) -> None:
        self._mean, self._std = (torch.tensor(values, device=device)[:, None, None] for values in (mean, std))

    def __call__(self, images: Tensor) -> Tensor:
        return images * self._std + self._mean


def _cross_entropy(scores: Tensor, classes: Tensor) -> Tensor:
    """Return the cross entropy [B, ...] of scores [B, K, ...] and class numbers [B, ...]."""
    return functional.cross_entropy(scores, classes, reduction="none")


class BinObjective(Objective):
    """Classification of each channel's level."""

    def __init__(self, channels: int, resolution_px: int, scope: Scope, bins: int, colours: Denormalise) -> None:
        super().__init__(channels * bins, resolution_px, scope)
        self.bins, self._colours = bins, colours

    def classes(self, images: Tensor) -> Tensor:
        """Return the bin [B, C, r, r] int64 of each value: floor(level * bins / 256), levels being 0 to 255."""
        levels = self._colours(coarser(images, self.resolution_px)) * 255
        # A level on an edge must not fall below it by rounding; means of up to 32 x 32 levels are 1/1024 apart.
        return ((levels + 2**-12) * (self.bins / 256)).long().clamp(0, self.bins - 1)

    def errors(self, predicted: Tensor, images: Tensor) -> Tensor:
        return _cross_entropy(self._by_channel(predicted).transpose(1, 2), self.classes(images))

    def _by_channel(self, predicted: Tensor) -> Tensor:
        return predicted.view(len(predicted), -1, self.bins, *predicted.shape[2:])

    def colours(self, predicted: Tensor, images: Tensor, on_screen: Denormalise) -> Tensor:  # noqa: ARG002
        """Return the middle of the likeliest bin."""
        return (self._by_channel(predicted).argmax(dim=2) + 0.5) / self.bins


class ClusterObjective(Objective):
    """Classification of colours by the nearest one [C] of a palette [K, C] on a scale of 0 to 1."""

    def __init__(self, resolution_px: int, scope: Scope, palette: Tensor, colours: Denormalise) -> None:
        super().__init__(len(palette), resolution_px, scope)
        self.palette, self._colours = palette, colours

    def classes(self, images: Tensor) -> Tensor:
        """Return the number [B, r, r] int64 of the nearest colour."""
        pixels = self._colours(coarser(images, self.resolution_px)).permute(0, 2, 3, 1)
        return torch.cdist(pixels.flatten(1, 2), self.palette, compute_mode=_EXACT).argmin(-1).view(pixels.shape[:3])

    def errors(self, predicted: Tensor, images: Tensor) -> Tensor:
        return _cross_entropy(predicted, self.classes(images)).unsqueeze(1)

    def colours(self, predicted: Tensor, images: Tensor, on_screen: Denormalise) -> Tensor:  # noqa: ARG002
        return self.palette[predicted.argmax(dim=1)].permute(0, 3, 1, 2)


_EXACT = "donot_use_mm_for_euclid_dist"  # matrix products would lose digits to TF32


class TokenObjective(Objective):
    """Classification of the tokens that a frozen tokenizer gives the image."""

    def __init__(self, resolution_px: int, scope: Scope, tokenizer: Tokenizer | Dvae, colours: Denormalise) -> None:
        super().__init__(tokenizer.shape.vocabulary, resolution_px, scope)
        self.tokenizer, self._colours = tokenizer, colours

    def classes(self, images: Tensor) -> Tensor:
        """Return the tokens [B, t, t] int64 of images, resized to the tokenizer's input."""
        shown, side = self._colours(images), self.tokenizer.shape.image_size_px
        if shown.shape[-1] != side:
            shown = functional.interpolate(shown, size=(side, side), mode="bicubic", antialias=True)
        return self.tokenizer(shown.clamp(0, 1))

    def errors(self, predicted: Tensor, images: Tensor) -> Tensor:
        return _cross_entropy(predicted, self.classes(images)).unsqueeze(1)

    def colours(self, predicted: Tensor, images: Tensor, on_screen: Denormalise) -> Tensor:  # noqa: ARG002
        raise UserError.about(
            "target.kind", "tokens", "a target that can be drawn: tokens have no colour", "a run with another target"
        )
