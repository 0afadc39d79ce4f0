"""Encoders that see a masked image."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmarks.encoders import Architecture
from benchmarks.engine.backbone import build_backbone
from benchmarks.errors import UserError
from benchmarks.families.parts import MASKING
from benchmarks.families.table import family_of


class MaskedEncoder(nn.Module):
    """A timm model with a learned token in the place of what is hidden."""

    patch_size_px: int
    """Side of what the mask token replaces; masks [B, H/p, W/p] lie on this grid."""
    stride_px: int
    """Pixels per token of the output."""
    channels: int
    """Channels of the output."""
    mask_token_decays: bool
    """Whether weight decay applies to the mask token."""

    compiled: bool = False
    """Whether `tokens` runs compiled blocks."""

    def __init__(self, backbone: nn.Module) -> None:
        """Wrap a model. Raises UserError for one that cannot be masked, at all or as it was built."""
        super().__init__()
        family = family_of(backbone)
        self.backbone = backbone
        self.mask_token = nn.Parameter(torch.zeros(family.mask_token_shape()))
        nn.init.trunc_normal_(self.mask_token, std=0.02)
        self.patch_size_px, self.mask_token_decays = family.patch_size_px, family.mask_token_decays
        self.stride_px, self.channels = family.stride_px, int(family.model.num_features)

    @property
    def blocks(self) -> list[nn.Module]:
        """The modules that make up most of the encoder, in order; each is compiled and divided as one."""
        return family_of(self.backbone).blocks()

    def compile_blocks(self, fast: bool) -> None:
        """Let torch compile the blocks as they run in a plain step, or in the family's `fast` one."""
        family = family_of(self.backbone)
        self.compiled = fast
        for block in [] if self.compiled else family.blocks():
            block.compile()

    def forward(self, images: Tensor, hidden: Tensor) -> Tensor:
        """Encode images [B, C, H, W] with hidden [B, H/p, W/p] bool (True = hidden) to [B, D, H/s, W/s]."""
        return family_of(self.backbone).masked_features(images, hidden, self.mask_token)

    def tokens(self, images: Tensor, hidden: Tensor, fast: bool) -> Tensor:
        """Return what the encoder itself returns as tokens [B, H/s * W/s, D], in the family's `fast` way if asked."""
        family = family_of(self.backbone)
        if fast:
            return family.features_of_step(images, hidden, self.mask_token, compiled=self.compiled)
        return family.masked_features(images, hidden, self.mask_token).flatten(2).transpose(1, 2)


def build_masked_encoder(architecture: Architecture, image_size_px: int, drop_path_rate: float) -> MaskedEncoder:
    """Build an encoder with random weights.

    Raises UserError for an architecture that cannot be masked, one whose patches are no squares, and for an image size
    that its features do not tile.
    """
    backbone = build_backbone(architecture, image_size_px, drop_path_rate=drop_path_rate)
    family_of(backbone).require(MASKING, architecture.name)
    patch = getattr(getattr(backbone, "patch_embed", None), "patch_size", 1)
    if isinstance(patch, tuple | list) and len({*patch}) > 1:
        rule, side = "one number: masks hide and show squares of whole patches", max(patch)
        raise UserError.about("encoder.arguments.patch_size", list(patch), rule, f"for example patch_size: {side}")
    encoder = MaskedEncoder(backbone)
    if image_size_px % encoder.stride_px:
        rule = f"a multiple of the encoder's stride ({encoder.stride_px} px)"
        nearest = max(1, round(image_size_px / encoder.stride_px)) * encoder.stride_px
        raise UserError.about("image_size_px", image_size_px, rule, f"for example {nearest}")
    return encoder
