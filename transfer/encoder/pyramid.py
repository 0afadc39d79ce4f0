"""The simple feature pyramid of ViTDet: maps at strides 4, 8, 16 and 32 from a plain ViT's single map."""

from __future__ import annotations

from timm.layers import LayerNorm2d
from torch import Tensor, nn

from benchmarks.errors import UserError
from transfer.encoder.dense import Encoder

STRIDES = (4, 8, 16, 32)


class SimpleFeaturePyramid(nn.Module):
    """Four maps from one of stride 16, by deconvolutions and a pooling, each followed by a 1x1 and a 3x3 convolution.

    Norms follow the convolutions. Its weights are trainable and random at the start, for it belongs to the task and not
    to the encoder. Source: ViTDet (arXiv:2203.16527), section 3.
    """

    def __init__(self, in_channels: int, channels: int = 256) -> None:
        super().__init__()
        half, quarter = in_channels // 2, in_channels // 4
        finest = nn.Sequential(
            nn.ConvTranspose2d(in_channels, half, 2, stride=2),
            LayerNorm2d(half),
            nn.GELU(),
            nn.ConvTranspose2d(half, quarter, 2, stride=2),
        )
        fine = nn.ConvTranspose2d(in_channels, half, 2, stride=2)
        coarse = nn.MaxPool2d(2, stride=2, ceil_mode=True)  # a map of odd sides keeps its last row and column
        self.levels = nn.ModuleList(
            nn.Sequential(resample, *_smoothing(found, channels))
            for resample, found in (
                (finest, quarter),
                (fine, half),
                (nn.Identity(), in_channels),
                (coarse, in_channels),
            )
        )

    def forward(self, feature: Tensor, height: int, width: int) -> list[Tensor]:
        """Turn the map [B, D, ceil(H/16), ceil(W/16)] of an image into maps [B, channels, ceil(H/s), ceil(W/s)]."""
        maps = [level(feature) for level in self.levels]
        return [
            found[:, :, : -(-height // stride), : -(-width // stride)]
            for found, stride in zip(maps, STRIDES, strict=True)
        ]


def _smoothing(in_channels: int, channels: int) -> list[nn.Module]:
    return [
        nn.Conv2d(in_channels, channels, 1, bias=False),
        LayerNorm2d(channels),
        nn.Conv2d(channels, channels, 3, padding=1, bias=False),
        LayerNorm2d(channels),
    ]


class PyramidEncoder(nn.Module):
    """A plain ViT with its pyramid, which is used like a hierarchical encoder.

    Raises UserError for an encoder that gives anything but one map of stride 16.
    """

    def __init__(self, encoder: Encoder, channels: int = 256) -> None:
        super().__init__()
        if encoder.strides != (16,):
            rule = f"an encoder with one map of stride 16 (this one: {', '.join(map(str, encoder.strides))})"
            remedy = "build it with the argument patch_size=16: kernels of another patch are resized when loaded"
            raise UserError.about("encoder", type(encoder.backbone).__name__, rule, remedy)
        self.encoder = encoder
        self.pyramid = SimpleFeaturePyramid(encoder.channels[0], channels)
        self.channels, self.strides = (channels,) * len(STRIDES), STRIDES

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return maps [B, channels, ceil(H/s), ceil(W/s)] of images [B, C, H, W], s = 4, 8, 16, 32."""
        maps: list[Tensor] = self.pyramid(*self.encoder.features(images), *images.shape[2:])
        return maps

    features = forward


def with_four_levels(encoder: Encoder, channels: int = 256) -> Encoder | PyramidEncoder:
    """Return the encoder itself where it gives maps of the four strides, else the encoder with a pyramid of `channels`.

    Raises UserError for an encoder that gives neither those nor one map of stride 16.
    """
    return encoder if encoder.strides == STRIDES else PyramidEncoder(encoder, channels)
