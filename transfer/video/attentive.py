"""The attentive probe of videos: a learned query pools the patches of all frames of a clip.

Source: V-JEPA (Bardes et al. 2024), facebookresearch/jepa `evals/video_classification_frozen` (FrameAggregation): an
encoder of images sees each frame by itself, and the probe the tokens of all frames of all segments at once. An encoder
of clips sees each segment by itself (ClipAggregation there and in facebookresearch/vjepa2).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.engine.optim import parameter_groups
from benchmarks.families.table import family_of
from transfer.classification.attentive import AttentiveProbe
from transfer.encoder.features import Feature, FrozenEncoder, blocks_of, chosen_layers, layers_in_words
from transfer.encoder.model import Loaded, build_model
from transfer.sources.source import Source
from transfer.video.model import require_frames
from transfer.video.recipe import AttentiveVideoRecipe
from transfer.video.train import Built, ClipClassifying

SLOWEST = 10_000
"""The longest wavelength of the embedding of time, over 2 pi. Source: Vaswani et al. 2017."""


class AttentiveVideo(ClipClassifying[AttentiveVideoRecipe]):
    """An attentive probe of videos as a problem for the training loop."""

    model: AttentiveProbe

    def build(self) -> Built:
        recipe = self.recipe
        backbone, report, plan = build_frozen(recipe, self.source, self.seed)
        layers = chosen_layers(None if recipe.layer is None else (recipe.layer,), backbone)
        frames = FrozenFrames(backbone, layers, recipe.image_size_px, plan.architecture.in_chans)
        frames.time_embedding, frames.part_frames = recipe.time_embedding, part_frames(backbone, recipe)
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


def build_frozen(recipe: AttentiveVideoRecipe, source: Source, seed: int) -> Loaded:
    """Return the encoder whose tokens are probed. Raises UserError where clips are not whole tubelets of it."""
    loaded = build_model(recipe, source, seed)
    require_frames(loaded.model, part_frames(loaded.model, recipe))
    return loaded


def part_frames(encoder: nn.Module, recipe: AttentiveVideoRecipe) -> int:
    """Return how many frames of a clip an encoder sees together."""
    if family_of(encoder).clip_step is None:
        return 1
    sampling = recipe.sampling
    return sampling.frames if sampling.frames > 1 else sampling.clip_frames


class FrozenFrames(FrozenEncoder):
    """A frozen encoder that sees the parts of clips, each by itself: single frames, or those of a segment."""

    time_embedding = False
    """Whether the place of a frame, or of a tubelet, in the clip is added to its tokens."""
    part_frames = 1
    """How many frames it sees together; of an encoder of images 1."""

    @torch.no_grad()
    def patches(self, images: Tensor) -> list[Tensor]:
        """Return the patches [B, T * N, D] of every layer of clips [B, C, T, H, W], frame after frame.

        Those of an encoder of clips follow each other tubelet after tubelet: T is then their number.
        """
        step = self._family.clip_step
        parts = torch.stack(torch.split(images, self.part_frames, dim=2), dim=1).flatten(0, 1)
        count = images.shape[2] // (step or 1)
        found = super().patches(parts if step else parts.squeeze(2))
        return [self._joined(tokens, len(images), count) for tokens in found]

    def _joined(self, tokens: Tensor, clips: int, count: int) -> Tensor:
        """Return the tokens [B, T * N, D] of so many clips, each of `count` times, given those of their parts."""
        apart = tokens.reshape(clips, count, -1, tokens.shape[2])
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
