"""Encoders that see a masked image. A family is one class here, and one line in the table at the end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from timm.models.beit import Beit
from timm.models.resnet import ResNet
from timm.models.swin_transformer import SwinTransformer
from timm.models.swin_transformer_v2 import SwinTransformerV2
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from benchmarks.encoders import Architecture
from benchmarks.engine.backbone import build_backbone
from benchmarks.errors import UserError


class MaskedEncoder(nn.Module, ABC):
    """A timm model with a learned token in the place of what is hidden."""

    backbone: nn.Module
    mask_token: nn.Parameter
    patch_size_px: int
    """Side of what the mask token replaces; masks [B, H/p, W/p] lie on this grid."""
    stride_px: int
    """Pixels per token of the output."""
    channels: int
    """Of the output."""
    mask_token_decays: ClassVar[bool] = False
    """Weight decay applies to the mask token. Source: `no_weight_decay` of microsoft/SimMIM's models."""

    def __init__(self, backbone: nn.Module, token_shape: tuple[int, ...], patch_size_px: int) -> None:
        super().__init__()
        timm_model: Any = backbone
        self.backbone = backbone
        self.mask_token = nn.Parameter(torch.zeros(token_shape))
        nn.init.trunc_normal_(self.mask_token, std=0.02)
        self.patch_size_px = patch_size_px
        self.stride_px = int(timm_model.feature_info[-1]["reduction"])
        self.channels = int(timm_model.num_features)

    @property
    @abstractmethod
    def blocks(self) -> list[nn.Module]:
        """The modules that make up most of the encoder, in order; each is compiled and divided as one."""

    def checkpoint_activations(self) -> None:
        """Let the backward pass compute activations again."""
        timm_model: Any = self.backbone
        timm_model.set_grad_checkpointing(True)

    @abstractmethod
    def forward(self, images: Tensor, hidden: Tensor) -> Tensor:
        """Encode images [B, C, H, W] with hidden [B, H/p, W/p] bool (True = hidden) to [B, D, H/s, W/s]."""


class MaskedSwin(MaskedEncoder):
    """Swin and SwinV2: the token takes the place of hidden patches after patch embedding."""

    backbone: SwinTransformer | SwinTransformerV2

    def __init__(self, backbone: SwinTransformer | SwinTransformerV2) -> None:
        embed: Any = backbone.patch_embed
        super().__init__(backbone, (1, 1, 1, embed.proj.out_channels), int(embed.patch_size[0]))

    @property
    def blocks(self) -> list[nn.Module]:
        stages: Any = self.backbone.layers
        return [block for stage in stages for block in stage.blocks]

    def forward(self, images: Tensor, hidden: Tensor) -> Tensor:
        embedded = self.backbone.patch_embed(images)
        shown = torch.where(hidden.unsqueeze(-1), self.mask_token.to(embedded.dtype), embedded)
        tokens: Tensor = self.backbone.norm(self.backbone.layers(shown))
        return tokens.permute(0, 3, 1, 2)


class MaskedBeit(MaskedEncoder):
    """ViT as SimMIM and BEiT build it: the token takes the place of hidden patches before positions are added."""

    backbone: Beit
    mask_token_decays = True

    def __init__(self, backbone: Beit) -> None:
        embed: Any = backbone.patch_embed
        super().__init__(backbone, (1, 1, backbone.embed_dim), int(embed.patch_size[0]))
        if isinstance(backbone.norm, nn.Identity):
            rule = "a last norm over all tokens, not over their mean"
            raise UserError.about("encoder", "global_pool: avg", rule, "set encoder.arguments.global_pool=token")

    @property
    def blocks(self) -> list[nn.Module]:
        return list(self.backbone.blocks)

    def forward(self, images: Tensor, hidden: Tensor) -> Tensor:
        backbone: Any = self.backbone
        embedded = backbone.patch_embed(images)
        token = self.mask_token.to(embedded.dtype)
        shown = torch.where(hidden.flatten(1).unsqueeze(-1), token, embedded)
        tokens = torch.cat([backbone.cls_token.expand(len(shown), -1, -1), shown], dim=1)
        if backbone.pos_embed is not None:
            tokens = tokens + backbone.pos_embed
        tokens = backbone.pos_drop(tokens)
        bias = backbone.rel_pos_bias() if backbone.rel_pos_bias is not None else None
        for block in backbone.blocks:
            if backbone.grad_checkpointing and self.training:
                tokens = checkpoint(block, tokens, shared_rel_pos_bias=bias, use_reentrant=False)
            else:
                tokens = block(tokens, shared_rel_pos_bias=bias)
        patches: Tensor = backbone.norm(tokens)[:, backbone.num_prefix_tokens :]
        return patches.transpose(1, 2).reshape(len(patches), self.channels, *hidden.shape[1:])


class MaskedConvNet(MaskedEncoder):
    """ResNet: convolutions would mix hidden and visible patches, so the token is a colour in place of hidden pixels."""

    backbone: ResNet

    def __init__(self, backbone: ResNet) -> None:
        stem: Any = next(module for module in backbone.modules() if isinstance(module, nn.Conv2d))
        super().__init__(backbone, (1, stem.in_channels, 1, 1), patch_size_px=1)

    @property
    def blocks(self) -> list[nn.Module]:
        backbone: Any = self.backbone
        return [block for name in ("layer1", "layer2", "layer3", "layer4") for block in getattr(backbone, name)]

    def forward(self, images: Tensor, hidden: Tensor) -> Tensor:
        shown = torch.where(hidden.unsqueeze(1), self.mask_token.to(images.dtype), images)
        features: Tensor = self.backbone.forward_features(shown)
        return features


_FAMILIES: dict[type[nn.Module], type[MaskedEncoder]] = {
    SwinTransformer: MaskedSwin,
    SwinTransformerV2: MaskedSwin,
    Beit: MaskedBeit,
    ResNet: MaskedConvNet,
}


def build_masked_encoder(architecture: Architecture, image_size_px: int, drop_path_rate: float) -> MaskedEncoder:
    """Build an encoder with random weights.

    Raises UserError for an architecture that cannot be masked, and for an image size that its features do not tile.
    """
    backbone = build_backbone(architecture, image_size_px, drop_path_rate=drop_path_rate)
    family: Any = next((family for kind, family in _FAMILIES.items() if isinstance(backbone, kind)), None)
    if family is None:
        rule = f"of a family that can be masked: {', '.join(kind.__name__ for kind in _FAMILIES)}"
        remedy = "`mimbench list encoders`; SimMIM's ViT is simmim_vit_base"
        raise UserError.about("encoder.name", architecture.name, rule, remedy)
    encoder: MaskedEncoder = family(backbone)
    if image_size_px % encoder.stride_px:
        rule = f"a multiple of the encoder's stride ({encoder.stride_px} px)"
        nearest = max(1, round(image_size_px / encoder.stride_px)) * encoder.stride_px
        raise UserError.about("image_size_px", image_size_px, rule, f"for example {nearest}")
    return encoder
