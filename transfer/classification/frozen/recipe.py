"""The recipes of protocols that need nothing of an image but its features. This module is light to import."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from benchmarks.config import Config, placement
from benchmarks.encoders import InitStage
from benchmarks.inference import Inference
from benchmarks.subset import Subset
from benchmarks.training.numbers import Count, Positive
from transfer.classification.recipe import ClassificationRecipe, KeptFeatures
from transfer.encoder.sizes import Pooling


class Strengths(Config):
    """Values of C, the inverse strength of the penalty, and how one is chosen: by top-1 on held-out training images."""

    lowest: Positive = 1e-6
    highest: Positive = 1e5
    count: Annotated[int, Field(ge=1, le=1000)] = 45
    """How many values there are, at equal distances of their logarithms."""
    held_out: Subset = Subset(fraction=0.1)
    """The training images that the choice is made on. The chosen value is fitted again on all training images."""

    @property
    def values(self) -> list[float]:
        """The values, from the strongest penalty to the weakest."""
        steps = max(1, self.count - 1)
        return [self.lowest * (self.highest / self.lowest) ** (at / steps) for at in range(self.count)]

    @model_validator(mode="after")
    def _ascending(self) -> Strengths:
        if self.lowest > self.highest:
            raise ValueError("grid.lowest must not be above grid.highest")
        return self


class LogisticRecipe(ClassificationRecipe):
    """Logistic regression on frozen features with an L2 penalty. Source: DINOv2 (Oquab et al. 2023)."""

    protocol: Literal["logistic"] = "logistic"
    starts_from: tuple[InitStage, ...] | None = placement(None)
    pooling: Pooling = "own"
    grid: Strengths = Strengths()
    max_iterations: Count = 1000
    """Iterations of L-BFGS at most, for each value."""
    tolerance: Positive = 1e-12
    """L-BFGS ends where no component of the gradient is larger."""
    inference: Inference = Inference()
    features: KeptFeatures = placement(KeptFeatures())

    @property
    def held_out(self) -> Subset:
        return self.grid.held_out


class FewShotRecipe(ClassificationRecipe):
    """Logistic regression on the features of few images of each class, over several draws. Source: MSN (2022)."""

    protocol: Literal["few-shot"] = "few-shot"
    starts_from: tuple[InitStage, ...] | None = placement(None)
    pooling: Pooling = "own"
    per_class: Count = 5
    """Images of each class for the run's score, which is the mean over draws."""
    other_per_class: tuple[Count, ...] = (1, 2)
    """Further numbers of images of each class, whose scores are written to shots.csv."""
    draws: Count = 3
    """How often images are drawn anew: draw N takes those of `data.subset: {per_class: ..., seed: N}`."""
    strength: Positive = 400.0
    """C, the inverse strength of the L2 penalty, as in scikit-learn."""
    max_iterations: Count = 1000
    tolerance: Positive = 1e-8
    inference: Inference = Inference()
    features: KeptFeatures = placement(KeptFeatures())
