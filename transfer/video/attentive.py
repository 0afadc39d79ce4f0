"""The attentive probe of videos: a learned query pools the patches of all frames of a clip.

Source: V-JEPA (Bardes et al. 2024), facebookresearch/jepa `evals/video_classification_frozen` (FrameAggregation): an
encoder of images sees each frame by itself, and the probe the tokens of all frames of all segments at once. An encoder
of clips sees each segment by itself (ClipAggregation there and in facebookresearch/vjepa2).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from benchmarks.engine.loop import Loop
from benchmarks.engine.run import Outcome
from benchmarks.families.table import family_of
from benchmarks.runs.folder import Run, RunFolder
from benchmarks.text.progress import EvaluationLines
from transfer.classification.attentive import COLUMNS, AttentiveMember, AttentiveProbe, members_of
from transfer.encoder.features import Feature, FrozenEncoder, blocks_of, chosen_layers, layers_in_words
from transfer.encoder.model import Loaded, build_model
from transfer.predictions.evaluation import Evaluation
from transfer.predictions.held_out import HeldOut, bounded, measured
from transfer.scores import write_csv
from transfer.sources.source import Source
from transfer.video.data.samples import ClipBatch, Views
from transfer.video.model import require_frames
from transfer.video.recipe import AttentiveVideoRecipe
from transfer.video.train import Built, ClipClassifying, mean_over_views

SLOWEST = 10_000
"""The longest wavelength of the embedding of time, over 2 pi. Source: Vaswani et al. 2017."""


class AttentiveVideo(ClipClassifying[AttentiveVideoRecipe]):
    """An attentive probe of videos, or a grid of them, as a problem for the training loop."""

    model: AttentiveProbe
    members: Sequence[AttentiveMember]
    at = 0
    """The position of the probe that is scored."""
    held_out: HeldOut | None = None
    """The latest choice from the grid."""

    def build(self) -> Built:
        recipe = self.recipe
        self.members = members_of(recipe.grid)
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
        return self.model.groups(self.recipe.grid, self.recipe.training)

    def outputs(self, clips: Tensor) -> list[Tensor]:
        found: list[Tensor] = self.model(clips)
        return found if self.recipe.grid is None else [bounded(logits) for logits in found]

    def scored(self, clips: Tensor) -> Tensor:
        found: list[Tensor] = self.model(clips)
        return found[self.at]

    def measure(self, views: Literal["one", "all"] = "all") -> Evaluation:
        """Evaluate on the test videos; a grid's member is chosen first, by the same views of held-out videos alone."""
        if self.recipe.grid is not None:
            samples = self.views_of(self.data.held_out, views)
            walk = self.walk(samples, EvaluationLines("chosen on", len(samples), "held-out videos"))
            self.held_out = measured(self.members, walk, self._by_every_probe, "videos")
            self.at = self.held_out.chosen
        return super().measure(views)

    def score_test_set(self, name: str) -> dict[str, float]:  # noqa: ARG002 (one at a time)
        """Return the scores on a further test set, by the probe that the run's own held-out videos chose."""
        return super().scores(super().measure())

    def _by_every_probe(self, batch: Views) -> list[Tensor]:
        parts = [self.model(part) for part in torch.split(batch.views, self.recipe.views_at_once)]
        return [mean_over_views(each).cpu() for each in zip(*parts, strict=True)]

    def scores(self, found: Evaluation) -> dict[str, float]:
        """Return what every classification returns and, of a grid, the chosen member's `held_out_top1`."""
        chosen = {} if self.held_out is None else {"held_out_top1": self.held_out.top1[self.at]}
        return {**super().scores(found), **chosen}

    def finish(self, loop: Loop[ClipBatch], run: Run) -> Outcome | None:
        outcome = super().finish(loop, run)
        if self.held_out is not None:
            run.update(choice=self.held_out.as_record())
        return outcome

    def write_results(self, folder: RunFolder) -> None:
        super().write_results(folder)
        if self.held_out is not None:
            write_csv(folder.grid, COLUMNS, self.held_out.rows())

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
