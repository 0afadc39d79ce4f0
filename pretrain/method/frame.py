"""The sizes that masks, encoder, head and target have to agree on. Light to import."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Frame:
    """Images [B, image_channels, S, S] and the encoder's features [B, features, grid, grid] of them."""

    image_size_px: int
    image_channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    """The normalisation of the images, per channel, on a 0 to 1 scale."""
    mask_patch_size_px: int
    stride_px: int
    """Pixels per token of the features."""
    features: int
    """Channels of the features."""

    @property
    def grid(self) -> int:
        """Side of the features."""
        return self.image_size_px // self.stride_px
