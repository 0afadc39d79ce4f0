"""Encoders that see a masked image: the mask token takes the place of hidden patches after patch embedding."""

from __future__ import annotations

from typing import Any

import torch
from timm.models.swin_transformer import SwinTransformer
from torch import Tensor, nn

from benchmarks.encoders import Architecture
from benchmarks.engine.backbone import build_backbone
from benchmarks.errors import UserError


class MaskedSwin(nn.Module):
    """A timm Swin with SimMIM's mask token."""

    def __init__(self, backbone: SwinTransformer) -> None:
        super().__init__()
        self.backbone = backbone
        self.mask_token = nn.Parameter(torch.zeros(1, 1, 1, backbone.embed_dim))
        nn.init.trunc_normal_(self.mask_token, std=0.02)

    @property
    def patch_size_px(self) -> int:
        embed: Any = self.backbone.patch_embed
        return int(embed.patch_size[0])

    @property
    def stride_px(self) -> int:
        """Pixels per token of the output."""
        return int(self.backbone.feature_info[-1]["reduction"])

    @property
    def channels(self) -> int:
        return int(self.backbone.num_features)

    def forward(self, images: Tensor, hidden: Tensor) -> Tensor:
        """Encode images [B, C, H, W] with hidden [B, H/p, W/p] bool (True = hidden) to [B, D, H/s, W/s]."""
        embedded = self.backbone.patch_embed(images)
        shown = torch.where(hidden.unsqueeze(-1), self.mask_token.to(embedded.dtype), embedded)
        tokens: Tensor = self.backbone.norm(self.backbone.layers(shown))
        return tokens.permute(0, 3, 1, 2)


def build_masked_encoder(architecture: Architecture, image_size_px: int, drop_path_rate: float) -> MaskedSwin:
    """Build an encoder with random weights. Raises UserError for an architecture that cannot be masked yet."""
    backbone = build_backbone(architecture, image_size_px, drop_path_rate=drop_path_rate)
    if not isinstance(backbone, SwinTransformer):
        rule = "a Swin Transformer"
        raise UserError.about("encoder.name", architecture.name, rule, "for example swin_base_patch4_window7_224")
    return MaskedSwin(backbone)
