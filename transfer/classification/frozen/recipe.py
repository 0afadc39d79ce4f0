"""The recipes of protocols that need nothing of an image but its features. This module is light to import."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from benchmarks.config import Config, later, placement
from benchmarks.encoders import InitStage
from benchmarks.inference import Inference
from benchmarks.subset import Subset
from benchmarks.training.numbers import Count, NotNegative, Positive
from benchmarks.training.training import Training
from transfer.classification.recipe import MOST_MEMBERS, ClassificationRecipe, KeptFeatures, TrainedRecipe
from transfer.encoder.sizes import Pooling


class AttentiveGrid(Config):
    """Attentive probes of all combinations of values, trained at once on the same tokens, and how one is chosen.

    None influences another. The one with the best top-1 on held-out training images or videos gives the run's score.
    """

    learning_rates: Annotated[tuple[Positive, ...], Field(min_length=1)]
    """Each stands for `base_lr` or `lr` of training.schedule, whichever that has."""
    weight_decays: Annotated[tuple[NotNegative, ...], Field(min_length=1)]
    """Each stands for training.weight_decay."""
    decay_everything: bool = False
    """Whether biases and norms decay, too, as in V-JEPA 2."""
    held_out: Subset
    """The training images or videos that the choice is made on, of each class. Nothing is trained on them."""

    @field_validator("learning_rates", "weight_decays")
    @classmethod
    def _each_value_once(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        if len(set(values)) < len(values):
            raise ValueError("each value once")
        return values

    @model_validator(mode="after")
    def _not_too_many(self) -> AttentiveGrid:
        if (count := len(self.learning_rates) * len(self.weight_decays)) > MOST_MEMBERS:
            raise ValueError(f"at most {MOST_MEMBERS:,} probes: the grid asks for {count:,}")
        return self

    def require_alone(self, training: Training) -> None:
        """Raise ValueError for what a training would do to all probes together."""
        if training.clip_grad_norm is not None:
            raise ValueError("training.clip_grad_norm must be null with a grid: the norm is that of all probes")
        if training.final_weight_decay is not None:
            raise ValueError("training.final_weight_decay must be null with a grid, whose probes have one decay each")


class AttentivePooling(Config):
    """How an attentive probe pools the tokens of a frozen encoder, of images as of videos."""

    layer: Count | None = None
    """The block whose tokens are pooled, counted from 1 through all stages; null takes the encoder's own output."""
    heads: Count | None = None
    """Number of the attention's heads, which must divide the width of the tokens; null takes as many as the encoder's
    own block has whose tokens are pooled."""
    pooler: Literal["v-jepa", "timm"] = later("timm")
    """v-jepa: what the query attended to is added to the query, as in V-JEPA's own code. timm: it is projected, and the
    query is left out, as before this field was there."""
    depth: Annotated[int, Field(ge=1, le=64)] = later(1)
    """Blocks of the pooler: the query's and, before it, blocks of self-attention among the tokens, as in V-JEPA 2."""
    mlp_ratio: Positive = 4.0
    init_std: Positive = 0.02
    grid: AttentiveGrid | None = later(None)
    """Train a probe for every combination of learning rates and weight decays at once, and choose among them; null
    trains one."""

    @model_validator(mode="after")
    def _depth_of_the_pooler(self) -> AttentivePooling:
        if self.depth > 1 and self.pooler != "v-jepa":
            raise ValueError("depth above 1 needs pooler=v-jepa")
        return self


class AttentiveRecipe(TrainedRecipe, AttentivePooling):
    """An attentive probe: a learned query attends to the frozen patch tokens, and a linear classifier follows."""

    protocol: Literal["attentive"] = "attentive"
    starts_from: tuple[InitStage, ...] | None = placement(None)
    features: KeptFeatures = placement(KeptFeatures())
    """Used as in a linear probe, where the patches of all images take up to 1 GiB."""

    @property
    def held_out(self) -> Subset | None:
        return None if self.grid is None else self.grid.held_out

    @model_validator(mode="after")
    def _probes_are_alone(self) -> AttentiveRecipe:
        if self.grid is not None:
            self.grid.require_alone(self.training)
        return self


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
