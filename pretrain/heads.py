"""From features back to pixels."""

from __future__ import annotations

from torch import Tensor, nn


class LinearHead(nn.Module):
    """One linear layer per token, and its outputs laid out as pixels. Source: SimMIM, section 3.3."""

    def __init__(self, channels: int, stride_px: int, image_channels: int) -> None:
        super().__init__()
        self.project = nn.Conv2d(channels, stride_px**2 * image_channels, kernel_size=1)
        self.to_pixels = nn.PixelShuffle(stride_px)

    def forward(self, features: Tensor) -> Tensor:
        """Map features [B, D, H/s, W/s] to an image [B, C, H, W]."""
        pixels: Tensor = self.to_pixels(self.project(features))
        return pixels
