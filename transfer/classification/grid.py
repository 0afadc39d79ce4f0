"""Which classifiers a linear probe trains at once, and the learning rates of a grid's members."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from benchmarks.families.table import family_of
from benchmarks.training.training import Training
from transfer.classification.recipe import LinearRecipe
from transfer.encoder.features import Feature, blocks_of, chosen_layers, last_blocks, layers_in_words
from transfer.predictions.held_out import HELD_OUT_COLUMNS

COLUMNS = ("layers", "pooling", "learning_rate", *HELD_OUT_COLUMNS)
"""Of grid.csv."""


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

    @property
    def cells(self) -> tuple[str, ...]:
        """What distinguishes it, as COLUMNS begins."""
        return layers_in_words(self.feature), self.feature.pooling, f"{self.learning_rate:g}"


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


def peak_of(training: Training, rate: float | None) -> float:
    """Return the highest learning rate of a member whose `base_lr` or `lr` is `rate`."""
    schedule = training.schedule
    return schedule.model_copy(update={schedule.rate: rate}).peak_lr(training.batch_size)
