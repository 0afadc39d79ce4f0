"""Raw pixels as an encoder, the floor under every learned one: `--encoder python:benchmarks.families.pixels:raw`.

It has no weights. Its maps hold the pixels themselves: at stride s the s x s pixels of each patch, channel by channel.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import pixel_unshuffle

from benchmarks.families.own import OwnEncoder

STRIDES = (4, 8, 16, 32)
"""As those of a Swin, so that both can be read by the same heads."""


def raw() -> OwnEncoder:
    """Return the encoder; it has 3 * s * s channels at each stride s."""
    return OwnEncoder(nn.Identity(), STRIDES, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), features=_patches)


def _patches(_model: nn.Module, images: Tensor) -> list[Tensor]:
    return [pixel_unshuffle(images, stride) for stride in STRIDES]
