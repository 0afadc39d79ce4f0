"""A linear probe's grid: which classifiers are trained at once, and how one is chosen by held-out training images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor, nn

from benchmarks.errors import WorkFailed
from benchmarks.families.table import family_of
from benchmarks.runs.probes import Choice
from transfer.classification.recipe import LinearRecipe
from transfer.encoder.features import Feature, blocks_of, chosen_layers, last_blocks, layers_in_words

LARGEST_LOGIT = 1e30
"""A classifier with a larger one has diverged; beyond 1e38 a float ends, and with it the sum of all losses."""
COLUMNS = ("layers", "pooling", "learning_rate", "held_out_top1", "held_out_loss", "note")


@dataclass(frozen=True)
class Member:
    """One classifier of a linear probe."""

    feature: Feature
    learning_rate: float | None = None
    """Its `base_lr` or `lr`; None where it is the schedule's own."""

    @property
    def words(self) -> str:
        """What it is, in words."""
        return f"{layers_in_words(self.feature)}, {self.feature.pooling}, learning rate {self.learning_rate:g}"


def members_of(recipe: LinearRecipe, backbone: nn.Module) -> list[Member]:
    """Return the classifiers that a recipe asks for. Raises UserError for blocks that the encoder does not have.

    An encoder without a class token has one way of pooling tokens, the mean: a grid's other ways are not trained twice.
    """
    layers_asked = tuple(range(1, len(blocks_of(backbone)) + 1)) if recipe.all_layers else recipe.layers
    single = chosen_layers(layers_asked, backbone)
    layers: list[tuple[int, ...]] = [(one,) for one in single]
    grid = recipe.grid
    if grid is None:
        return [Member(Feature(one, recipe.pooling)) for one in layers]
    if grid.last_blocks is not None:
        layers = [last_blocks(count, backbone) for count in grid.last_blocks]
    poolings = grid.pooling or (recipe.pooling,)
    family = family_of(backbone)
    if not (family.has_class_token or family.pools_by_attention):
        poolings = ("mean",)
    return [Member(Feature(one, way), rate) for one in layers for way in poolings for rate in grid.learning_rates]


def bounded(logits: Tensor) -> Tensor:
    """Return logits [B, C] as they are, or zeros where they have diverged: then nothing flows back to the classifier.

    Without this one classifier with too high a rate would make the loss that all share infinite, and stop the run.
    """
    usable = logits.detach().abs().amax() < LARGEST_LOGIT  # False for NaN too
    return logits.where(usable, logits.new_zeros(()))


@dataclass(frozen=True)
class HeldOut:
    """Every member's scores on the held-out images, and which of them was chosen."""

    members: Sequence[Member]
    top1: Sequence[float]
    losses: Sequence[float]
    """Mean cross-entropies in nats; of a member that diverged not finite."""
    images: int

    @cached_property
    def chosen(self) -> int:
        """The position of the best member: of the best top-1, of those the lowest loss, of those the first."""
        return min(self._finite, key=lambda at: (-self.top1[at], self.losses[at], at))

    def require_finite(self) -> None:
        """Raise WorkFailed where no member can be chosen."""
        if not self._finite:
            raise WorkFailed(
                f"all {len(self.members)} classifiers of the grid have diverged\n  remedy: lower grid.learning_rates"
            )

    @cached_property
    def _finite(self) -> list[int]:
        return [at for at, loss in enumerate(self.losses) if math.isfinite(loss)]

    @property
    def why(self) -> str:
        """Why the chosen member was chosen."""
        same = sum(self.top1[at] == self.top1[self.chosen] for at in self._finite)
        best = f"best top-1 of {len(self.members)} on {self.images} held-out training images"
        return best if same == 1 else f"{best}, lowest loss of the {same} that reach it"

    def as_record(self) -> Choice:
        """Return what the run's record says of the choice."""
        at = self.chosen
        return Choice(
            member=self.members[at].words,
            members=len(self.members),
            held_out_images=self.images,
            held_out_top1=self.top1[at],
            held_out_loss=self.losses[at],
            why=self.why,
        )

    def rows(self) -> list[tuple[object, ...]]:
        """Return one row of `COLUMNS` for each member."""
        found: list[tuple[object, ...]] = []
        for at, member in enumerate(self.members):
            finite = math.isfinite(self.losses[at])
            note = f"chosen: {self.why}" if at == self.chosen else "" if finite else "diverged"
            scores = (f"{self.top1[at]:.4f}", f"{self.losses[at]:.6f}") if finite else ("", "")
            rate = f"{member.learning_rate:g}"
            found.append((layers_in_words(member.feature), member.feature.pooling, rate, *scores, note))
        return found
