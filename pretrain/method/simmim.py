"""The method: hide patches and predict what they hide. Source: SimMIM (arXiv:2111.09886)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pretrain.method.frame import Frame
from pretrain.method.masked_encoders import MaskedEncoder, build_masked_encoder
from pretrain.method.objectives import Objective
from pretrain.recipe import PretrainRecipe


class SimMIM(nn.Module):
    """An encoder of masked images and a head that predicts from its features."""

    def __init__(self, encoder: MaskedEncoder, head: nn.Module) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head

    def forward(self, images: Tensor, hidden: Tensor) -> Tensor:
        """Return predictions [B, K, r, r] for images [B, C, S, S] and hidden [B, S/p, S/p] bool (True = hidden)."""
        predictions: Tensor = self.head(self.encoder(images, hidden))
        return predictions


@dataclass(frozen=True)
class Method:
    """The model that is trained, and the objective that it is trained for."""

    model: SimMIM
    objective: Objective

    def loss(self, images: Tensor, hidden: Tensor) -> Tensor:
        """Return the scalar loss of images [B, C, S, S] under masks on the encoder's patch grid."""
        return self.objective.loss(self.model(images, hidden), images, hidden)


def build_method(recipe: PretrainRecipe, device: torch.device) -> Method:
    """Build what a recipe says, with random weights, on a device. Raises UserError where its parts do not fit."""
    encoder = build_masked_encoder(recipe.encoder, recipe.image_size_px, recipe.drop_path_rate)
    recipe.masking.check(recipe.image_size_px, encoder.patch_size_px)
    frame = Frame(
        image_size_px=recipe.image_size_px,
        image_channels=recipe.encoder.in_chans,
        mean=recipe.data.mean,
        std=recipe.data.std,
        mask_patch_size_px=recipe.masking.mask_patch_size_px,
        stride_px=encoder.stride_px,
        features=encoder.channels,
    )
    objective = recipe.target.build(frame, device)
    head = recipe.head.build(frame, objective.resolution_px, objective.outputs)
    return Method(SimMIM(encoder, head).to(device), objective)
