"""The method: hide patches and predict what they hide. Source: SimMIM (arXiv:2111.09886)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pretrain.method.fast_step import FastStep, fast_step, hidden_places, predictions_at
from pretrain.method.frame import Frame
from pretrain.method.masked_encoders import MaskedEncoder, build_masked_encoder
from pretrain.method.objectives import Objective, PixelObjective
from pretrain.recipe import PretrainRecipe


class SimMIM(nn.Module):
    """An encoder of masked images and a head that predicts from its features."""

    def __init__(self, encoder: MaskedEncoder, head: nn.Module) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head

    def forward(self, images: Tensor, hidden: Tensor, fast: FastStep | None = None, grid: int = 0) -> Tensor:
        """Return predictions [B, K, r, r] for images [B, C, S, S] and hidden [B, S/p, S/p] bool (True = hidden).

        The faster ways of `fast` need the side of the features, `grid`; where they ask for hidden tokens alone, the
        predictions are [B, M, K * s * s], s x s target pixels for each of the M.
        """
        if fast is None:
            predictions: Tensor = self.head(self.encoder(images, hidden))
            return predictions
        tokens = self.encoder.tokens(images, hidden, fast.windows)
        if fast.hidden is not None:
            return predictions_at(self.head, tokens, hidden_places(hidden, grid, fast.hidden))
        mapped: Tensor = self.head(tokens.transpose(1, 2).reshape(len(tokens), -1, grid, grid))
        return mapped


@dataclass(frozen=True)
class Method:
    """The model that is trained, and the objective that it is trained for."""

    model: SimMIM
    objective: Objective
    fast: FastStep | None = None
    """The faster ways to the loss; None: the plain one."""
    grid: int = 0
    """The side of the encoder's features, which the faster ways need."""

    @property
    def in_window_order(self) -> bool:
        """Whether tokens go through the encoder in the order of windows."""
        return self.fast is not None and self.fast.windows

    def loss(self, images: Tensor, hidden: Tensor) -> Tensor:
        """Return the scalar loss of images [B, C, S, S] under masks on the encoder's patch grid."""
        if self.fast is None:
            return self.objective.loss(self.model(images, hidden), images, hidden)
        predictions = self.model(images, hidden, self.fast, self.grid)
        if self.fast.hidden is None:
            return self.objective.loss(predictions, images, hidden)
        assert isinstance(self.objective, PixelObjective)
        return self.objective.loss_at(
            predictions, images, hidden_places(hidden, self.grid, self.fast.hidden), self.grid
        )


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
    fast = fast_step(recipe, encoder, objective, frame) if recipe.training.fast_step else None
    return Method(SimMIM(encoder, head).to(device), objective, fast, frame.grid)
