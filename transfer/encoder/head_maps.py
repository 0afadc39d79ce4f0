"""The input of dense tasks' heads: an encoder's four feature maps, normalised."""

from __future__ import annotations

from timm.layers import LayerNorm2d
from torch import Tensor, nn

from benchmarks.families.table import family_of
from transfer.encoder.dense import Encoder
from transfer.encoder.pyramid import PyramidEncoder, with_four_levels


class HeadMaps(nn.Module):
    """An encoder's maps at strides 4, 8, 16 and 32, normalised.

    Each of Swin's maps passes a LayerNorm, as in its authors' dense code; a ViT's pyramid ends in norms already. The
    encoder's own last norm is not applied, and is not trained.
    """

    def __init__(self, encoder: Encoder, pyramid_channels: int = 256) -> None:
        """Build the norms, or the pyramid: `pyramid_channels` is the width of a ViT's maps; a Swin's keep their own."""
        super().__init__()
        levels = with_four_levels(encoder, pyramid_channels)
        self.encoder = encoder
        self.pyramid = levels.pyramid if isinstance(levels, PyramidEncoder) else None
        self.norms = nn.ModuleList([] if self.pyramid else [LayerNorm2d(n, eps=1e-5) for n in encoder.channels])
        self.channels = levels.channels
        for norm in family_of(encoder.backbone).last_norms():
            norm.requires_grad_(False)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return maps [B, D, ceil(H/s), ceil(W/s)] of images [B, 3, H, W], s = 4, 8, 16, 32."""
        maps = self.encoder.features(images)
        if self.pyramid is not None:
            found: list[Tensor] = self.pyramid(*maps, *images.shape[2:])
            return found
        return [norm(each) for norm, each in zip(self.norms, maps, strict=True)]
