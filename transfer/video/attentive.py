"""The attentive probe of videos: a learned query pools the patches of all frames of a clip.

Source: V-JEPA (Bardes et al. 2024), facebookresearch/jepa `evals/video_classification_frozen` (FrameAggregation): an
encoder of images sees each frame by itself, and the probe the tokens of all frames of all segments at once.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.engine.optim import parameter_groups
from transfer.classification.attentive import AttentiveProbe
from transfer.encoder.features import Feature, FrozenEncoder, blocks_of, chosen_layers, layers_in_words
from transfer.encoder.model import build_model
from transfer.video.recipe import AttentiveVideoRecipe
from transfer.video.train import Built, ClipClassifying

SLOWEST = 10_000
"""The longest wavelength of the embedding of time, over 2 pi. Source: Vaswani et al. 2017."""


class AttentiveVideo(ClipClassifying[AttentiveVideoRecipe]):
    """An attentive probe of videos as a problem for the training loop."""

    model: AttentiveProbe

    def build(self) -> Built:
        recipe = self.recipe
        backbone, report, plan = build_model(recipe, self.source, self.seed)
        layers = chosen_layers(None if recipe.layer is None else (recipe.layer,), backbone)
        frames = FrozenFrames(backbone, layers, recipe.image_size_px, plan.architecture.in_chans)
        frames.time_embedding = recipe.time_embedding
        where = layers_in_words(Feature(layers, "mean"))
        self.feature = f"{where}: all patches of all frames, pooled by the probe's own attention"
        return Built(AttentiveProbe(frames, recipe, len(self.data.classes)), plan, report)

    def blocks(self, model: nn.Module) -> list[nn.Module]:  # noqa: ARG002 (there is one)
        return blocks_of(self.model.encoder.backbone)

    def groups(self) -> list[dict[str, Any]]:
        return parameter_groups(self.model, self.recipe.training.weight_decay)

    @property
    def state(self) -> nn.Module:
        """The probe without its encoder, which does not change."""
        return self.model.head


class FrozenFrames(FrozenEncoder):
    """A frozen encoder of images that sees the frames of clips, each by itself."""

    time_embedding = False
    """Whether the place of a frame in the clip is added to its tokens."""

    @torch.no_grad()
    def patches(self, images: Tensor) -> list[Tensor]:
        """Return the patches [B, T * N, D] of every layer of clips [B, C, T, H, W], frame after frame."""
        frames = images.transpose(1, 2)
        return [self._joined(tokens, frames.shape[1]) for tokens in super().patches(frames.flatten(0, 1))]

    def _joined(self, tokens: Tensor, count: int) -> Tensor:
        """Return the tokens [B, T * N, D] of clips, given those of their frames [B * T, N, D]."""
        apart = tokens.reshape(-1, count, *tokens.shape[1:])
        if self.time_embedding:
            apart = apart + time_embedding(count, tokens.shape[2]).to(tokens)[:, None]
        joined: Tensor = apart.flatten(1, 2)
        return joined


def time_embedding(count: int, width: int) -> Tensor:
    """Return the embeddings [count, width] of the places 0, 1, ...: sines, then cosines of geometric wavelengths."""
    half = width // 2
    rates = SLOWEST ** -(torch.arange(half, dtype=torch.float64) / half)
    angles = torch.arange(count, dtype=torch.float64)[:, None] * rates
    embedded = torch.cat([angles.sin(), angles.cos()], dim=1)
    return nn.functional.pad(embedded, (0, width - 2 * half)).float()
