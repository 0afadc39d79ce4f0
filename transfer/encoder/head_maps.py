"""The input of dense tasks' heads: an encoder's four feature maps, normalised."""

from __future__ import annotations

from collections.abc import Container

from timm.layers import LayerNorm2d
from torch import Tensor, nn

from benchmarks.families.table import family_of
from transfer.encoder.dense import Encoder
from transfer.encoder.pyramid import PyramidEncoder, with_four_levels


class HeadMaps(nn.Module):
    """An encoder's maps at strides 4, 8, 16 and 32, normalised.

    Where the encoder's own output passes a LayerNorm before its head, which maps do without, each map passes one of its
    own, as in the dense code of Swin's and ConvNeXt's authors. A plain transformer's pyramid ends in norms already, and
    a ResNet's maps are taken as they are. What no map depends on, the last norm or an attention pool, is not trained.
    """

    def __init__(self, encoder: Encoder, pyramid_channels: int = 256) -> None:
        """Build the norms, or the pyramid: `pyramid_channels` is the width of a ViT's maps; a Swin's keep their own."""
        super().__init__()
        levels = with_four_levels(encoder, pyramid_channels)
        self.encoder = encoder
        self.pyramid = levels.pyramid if isinstance(levels, PyramidEncoder) else None
        beside = family_of(encoder.backbone).beside_maps()
        normed = self.pyramid is None and has_norm(encoder.backbone, beside)
        self.norms = nn.ModuleList([LayerNorm2d(n, eps=1e-5) for n in encoder.channels] if normed else [])
        self.channels = levels.channels
        for name, parameter in encoder.backbone.named_parameters():
            if name in beside:
                parameter.requires_grad_(False)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return maps [B, D, ceil(H/s), ceil(W/s)] of images [B, 3, H, W], s = 4, 8, 16, 32."""
        maps = self.encoder.features(images)
        if self.pyramid is not None:
            found: list[Tensor] = self.pyramid(*maps, *images.shape[2:])
            return found
        return [norm(each) for norm, each in zip(self.norms, maps, strict=True)] if self.norms else maps


def has_norm(model: nn.Module, names: Container[str]) -> bool:
    """Tell whether one of these parameters is that of a norm over channels, as LayerNorm and RMSNorm are."""
    owners = (model.get_submodule(name.rpartition(".")[0]) for name, _ in model.named_parameters() if name in names)
    kinds = {type(owner).__name__ for owner in owners if not isinstance(owner, nn.modules.batchnorm._BatchNorm)}
    return any("Norm" in kind for kind in kinds)
