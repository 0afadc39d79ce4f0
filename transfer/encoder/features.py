"""Features of a frozen encoder, taken from its output or from the blocks inside it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.errors import UserError
from benchmarks.families.family import TOKENS
from benchmarks.families.table import family_of
from transfer.encoder.sizes import Pooling

OUTPUT = 0
"""The number of the encoder's own output, after its last norm; blocks count from 1."""


class FrozenEncoder(nn.Module):
    """A timm model without a head that never changes: it has no gradients and stays in evaluation mode.

    Its `layers` are OUTPUT or numbers of blocks, counted through all stages of a Swin.
    """

    def __init__(self, backbone: nn.Module, layers: tuple[int, ...], image_size_px: int, channels: int) -> None:
        super().__init__()
        self.backbone: Any = backbone.requires_grad_(False)
        self.layers = layers
        self._found: dict[int, Tensor] = {}
        family = family_of(backbone)
        self._prefix, self._has_class_token = family.prefix_tokens, family.has_class_token
        for number, block in enumerate(blocks_of(backbone), start=1):
            if number in layers:
                block.register_forward_hook(self._keep(number))
        self.eval()
        image = torch.zeros(1, channels, image_size_px, image_size_px, device=next(backbone.parameters()).device)
        self.widths = [int(tokens.shape[2]) for tokens in self.tokens(image)]
        """The width of the tokens of each layer."""

    def _keep(self, number: int) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            self._found[number] = output

        return hook

    def train(self, mode: bool = True) -> FrozenEncoder:  # noqa: ARG002 (nn.Module's signature)
        """Stay in evaluation mode."""
        return super().train(False)

    @torch.no_grad()
    def tokens(self, images: Tensor) -> list[Tensor]:
        """Return the tokens [B, N, D] of every layer, class token first where there is one."""
        self._found.clear()
        self._found[OUTPUT] = self.backbone.forward_features(images)  # the hooks add the blocks
        found = [family_of(self.backbone).tokens(self._found[layer]) for layer in self.layers]
        self._found.clear()
        return found

    @torch.no_grad()
    def patches(self, images: Tensor) -> list[Tensor]:
        """Return the tokens [B, N, D] of every layer without class and register tokens."""
        return [tokens[:, self._prefix :] for tokens in self.tokens(images)]

    def forward(self, images: Tensor, pooling: Pooling) -> list[Tensor]:
        return self.pooled(images, pooling)

    @torch.no_grad()
    def pooled(self, images: Tensor, pooling: Pooling) -> list[Tensor]:
        """Return one vector [B, D] (twice as wide for class-token-and-mean) of every layer."""
        found = []
        for layer, tokens in zip(self.layers, self.tokens(images), strict=True):
            norm = family_of(self.backbone).norm_after_pooling if layer == OUTPUT else None
            mean = tokens[:, self._prefix :].mean(dim=1)
            parts = [tokens[:, 0]] * self._with_token(pooling) + [mean] * self._with_mean(pooling)
            found.append(torch.cat([part if norm is None else norm(part) for part in parts], dim=1))
        return found

    def pooled_widths(self, pooling: Pooling) -> list[int]:
        """Return the widths of the vectors that `pooled` returns."""
        return [width * (self._with_token(pooling) + self._with_mean(pooling)) for width in self.widths]

    def _with_token(self, pooling: Pooling) -> bool:
        return self._has_class_token and pooling != "mean"

    def _with_mean(self, pooling: Pooling) -> bool:
        return not self._has_class_token or pooling != "class-token"


def blocks_of(backbone: nn.Module) -> list[nn.Module]:
    """Return an encoder's blocks in order. Raises UserError for a family whose blocks' outputs cannot be read here."""
    family = family_of(backbone)
    family.require(TOKENS)
    return family.blocks()


def chosen_layers(layers: tuple[int, ...] | None, backbone: nn.Module) -> tuple[int, ...]:
    """Return the numbers of a recipe's layers, in order; None stands for the encoder's own output.

    Raises UserError for a block that the encoder does not have.
    """
    count = len(blocks_of(backbone))
    if layers is None:
        return (OUTPUT,)
    if max(layers) > count:
        raise UserError.about("layer", max(layers), f"at most {count}, the encoder's blocks", "choose another layer")
    return tuple(sorted(set(layers)))
