"""The method: hide patches, predict their pixels, L1 on the hidden ones only. Source: SimMIM (arXiv:2111.09886)."""

from __future__ import annotations

from torch import Tensor, nn

from pretrain.encoders import MaskedSwin
from pretrain.heads import LinearHead


class SimMIM(nn.Module):
    """An encoder with a one-layer head that predicts hidden pixels."""

    def __init__(self, encoder: MaskedSwin, image_channels: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = LinearHead(encoder.channels, encoder.stride_px, image_channels)

    def forward(self, images: Tensor, hidden: Tensor) -> Tensor:
        """Return predicted pixels [B, C, H, W] for images [B, C, H, W] and hidden [B, H/p, W/p] bool."""
        pixels: Tensor = self.head(self.encoder(images, hidden))
        return pixels


def masked_l1(predicted: Tensor, images: Tensor, hidden: Tensor) -> Tensor:
    """Return sum |predicted - images| over hidden pixels / (hidden pixels + 1e-5) / channels, in fp32.

    `hidden` [B, h, w] bool is on the patch grid and is enlarged to pixels.
    """
    scale = images.shape[-1] // hidden.shape[-1]
    pixels = hidden.repeat_interleave(scale, dim=1).repeat_interleave(scale, dim=2).unsqueeze(1)
    error = (predicted.float() - images.float()).abs() * pixels
    return error.sum() / (pixels.sum() + 1e-5) / images.shape[1]
