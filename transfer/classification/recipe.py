"""The recipes of classification, one class for each protocol. This module is light to import."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from benchmarks.config import Config, later, placement
from benchmarks.encoders import InitStage
from benchmarks.inference import Inference
from benchmarks.subset import Subset
from benchmarks.training.numbers import Count, NotNegative, Positive, Share, ShareSpan, Span
from benchmarks.training.training import Training
from transfer.encoder.sizes import EncoderSizes, Pooling, TrainedEncoderSizes
from transfer.images.recipe import ClassificationData
from transfer.sources.preprocessing import Preprocessing


class Augmentation(Config):
    """Augmentation and regularisation of the training images. Source of the defaults: microsoft/SimMIM."""

    crop_scale: ShareSpan = (0.08, 1.0)
    crop_ratio: Span = (3 / 4, 4 / 3)
    horizontal_flip: Share = 0.5
    color_jitter: NotNegative = 0.4
    """Strength of the colour jitter; it has an effect only without auto_augment, as in timm."""
    auto_augment: str | None = "rand-m9-mstd0.5-inc1"
    """timm's policy string; null switches it off."""
    erase_probability: Share = 0.25
    erase_mode: str = "pixel"
    mixup: NotNegative = 0.8
    cutmix: NotNegative = 1.0
    mix_switch_probability: Share = 0.5
    """Share of batches mixed by cutmix where both are on."""
    label_smoothing: Share = 0.1

    @property
    def mixes(self) -> bool:
        return self.mixup > 0 or self.cutmix > 0

    @property
    def changes_images(self) -> bool:
        """Whether an image may be seen in several ways: cropped, mirrored, recoloured, erased in part or mixed."""
        cropped = self.crop_scale != (1.0, 1.0) or self.crop_ratio != (1.0, 1.0)
        drawn = (self.horizontal_flip, self.color_jitter, self.auto_augment, self.erase_probability)
        return cropped or self.mixes or any(drawn)


class KeptFeatures(Config):
    """Where features of frozen encoders are kept, which runs of all protocols, seeds and draws share."""

    folder: str | None = None
    """null is what MIMBENCH_FEATURES names, or ~/.cache/mimbench/features. Delete any of it at any time."""
    limit_gb: Positive = 50.0
    """What was not used for longest is removed beyond so many GB; a run keeps all that it needs itself."""


class ClassificationRecipe(EncoderSizes):
    """The fields that all protocols of classification share."""

    protocol: str
    """finetune, linear, attentive, knn, logistic, few-shot or evaluate; it decides which other fields there are."""
    data: ClassificationData
    interpolation: Literal["bicubic", "bilinear"] = later("bicubic")
    """How images are resized, in training and in tests."""

    @property
    def held_out(self) -> Subset | None:
        """The part of the training images that is not trained on; None: there is none."""
        return None


class TrainedRecipe(ClassificationRecipe):
    """The fields of all protocols that train something: the whole model, or a head on frozen features."""

    evaluate_every_epochs: Count = 1
    """Epochs from one evaluation to the next; the last epoch is always evaluated."""
    augmentation: Augmentation = Augmentation()
    training: Training

    @property
    def keeps_features(self) -> bool:
        """Whether training and test images are seen in one way alone, the whole of each: no feature changes."""
        whole = self.data.test_crop == 1.0 and self.data.test_resize == "shorter-side"
        return whole and self.data.test_images == "recipe" and not self.augmentation.changes_images

    @model_validator(mode="after")
    def _mixing_needs_pairs(self) -> TrainedRecipe:
        if self.augmentation.mixes and self.training.batch_size % 2:
            raise ValueError("training.batch_size must be even with mixup or cutmix, which mix images in pairs")
        return self


class FinetuneRecipe(TrainedRecipe, TrainedEncoderSizes):
    """End-to-end fine-tuning. Source of the defaults: microsoft/SimMIM."""

    protocol: Literal["finetune"] = "finetune"
    drop_path_rate: Share = 0.1
    """Stochastic depth, growing linearly to this rate in the last block."""
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 0.9
    """Each layer's learning rate is that of the next deeper one times this."""
    bias_per_block: bool = False
    """Give every block of a BEiT or SimMIM ViT its own copy of the position table that all blocks share."""
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Evaluate and export a moving average of the weights, updated after every step; null evaluates the weights."""
    norm_after_pooling: bool = later(False)
    """The head takes the mean of the patches through a new norm, in place of that after the encoder's last block."""
    head_init_std: Positive | None = later(None)
    """Standard deviation of the classifier's initial weights, of a truncated normal distribution; null: timm's."""
    decay_everything: bool = later(False)
    """Weight decay also of the parameters that `training.weight_decay` spares: vectors, biases and all others."""

    @model_validator(mode="after")
    def _own_test_images(self) -> FinetuneRecipe:
        if self.data.test_images == "own":
            raise ValueError("data.test_images=own is for frozen encoders: fine-tuning has test images of its own")
        return self

    @model_validator(mode="after")
    def _everything_in_one_group(self) -> FinetuneRecipe:
        if self.decay_everything and self.layer_decay != 1.0:
            raise ValueError("decay_everything needs layer_decay=1.0: no published recipe has both")
        return self


MOST_MEMBERS = 1000
"""The most classifiers of one grid before an encoder's own sizes are known; each has weights and a place in memory."""


class Grid(Config):
    """Classifiers for all combinations of values, trained at once on the same features, and how one is chosen.

    None influences another. The one with the best top-1 on held-out training images gives the run's score.
    """

    learning_rates: tuple[Positive, ...] = Field(min_length=1)
    """Each stands for `base_lr` or `lr` of training.schedule, whichever that has."""
    last_blocks: tuple[Count, ...] | None = None
    """Each joins the features of so many last blocks, all after the encoder's last norm; null takes the layers that the
    recipe names, one at a time. A block of another width than the last, as Swin's early ones, goes without the norm."""
    pooling: tuple[Pooling, ...] | None = None
    """null takes the recipe's. Of joined blocks, class-token-and-mean takes every class token and the last mean."""
    held_out: Subset
    """The training images that the choice is made on: of each class, or a list. Nothing is trained on them."""

    @field_validator("learning_rates", "last_blocks", "pooling")
    @classmethod
    def _each_value_once(cls, values: tuple[object, ...] | None) -> tuple[object, ...] | None:
        if values is not None and (not values or len(set(values)) < len(values)):
            raise ValueError("at least one value, and each once")
        return values

    @model_validator(mode="after")
    def _not_too_many(self) -> Grid:
        count = len(self.learning_rates) * len(self.last_blocks or (1,)) * len(self.pooling or (1,))
        if count > MOST_MEMBERS:
            raise ValueError(f"at most {MOST_MEMBERS:,} classifiers: the grid asks for {count:,}")
        return self


class LinearRecipe(TrainedRecipe):
    """A linear classifier on frozen features, or one for each of several layers, trained at the same time."""

    protocol: Literal["linear"] = "linear"
    starts_from: tuple[InitStage, ...] | None = placement(None)
    layers: tuple[Count, ...] | None = None
    """Blocks, counted from 1 through all stages, whose output gets a classifier; null takes the encoder's own output,
    after its last norm."""
    all_layers: bool = False
    """Give every block's output a classifier."""
    score_layer: Count | None = None
    """The layer whose score is the run's; null takes the deepest."""
    pooling: Pooling = "own"
    batch_norm: bool = True
    """BatchNorm without scale and shift before the classifier."""
    init_std: Positive = 0.01
    """Standard deviation of the classifier's initial weights, drawn from a truncated normal distribution."""
    grid: Grid | None = later(None)
    """Train a classifier for every combination of learning rates, blocks and pooling at once, and choose among them;
    null trains the classifiers of `layers` alone."""
    features: KeptFeatures = placement(KeptFeatures())
    """Used where every image is seen in one way alone, and whole: then its features are computed once."""

    @property
    def held_out(self) -> Subset | None:
        return None if self.grid is None else self.grid.held_out

    @model_validator(mode="after")
    def _grid_agrees(self) -> LinearRecipe:
        if self.grid is None:
            return self
        if self.grid.last_blocks is not None and (self.layers is not None or self.all_layers):
            raise ValueError("grid.last_blocks and layers or all_layers: give one of them")
        if self.score_layer is not None:
            raise ValueError("score_layer must be null with a grid, which chooses by held-out images")
        if self.training.clip_grad_norm is not None:
            raise ValueError("training.clip_grad_norm must be null with a grid: the norm is that of all classifiers")
        return self

    @model_validator(mode="after")
    def _layers_agree(self) -> LinearRecipe:
        if self.layers == ():
            raise ValueError("layers must name a layer, or be null for the encoder's own output")
        if self.layers is not None and self.all_layers:
            raise ValueError("layers and all_layers: give one of them")
        if self.score_layer is not None and not self.all_layers and self.score_layer not in (self.layers or ()):
            raise ValueError(f"score_layer ({self.score_layer}) must be one of layers")
        return self


class KnnRecipe(ClassificationRecipe):
    """Weighted nearest neighbours of frozen features: nothing is trained. Source: Wu et al. 2018, Caron et al. 2021."""

    protocol: Literal["knn"] = "knn"
    starts_from: tuple[InitStage, ...] | None = placement(None)
    k: Count = 20
    """Number of neighbours that vote for the run's score."""
    other_k: tuple[Count, ...] = (10, 100, 200)
    """Further numbers of neighbours, whose scores are written to neighbours.csv."""
    temperature: Positive = 0.07
    """A neighbour's vote weighs exp(cosine similarity / temperature)."""
    pooling: Pooling = "own"
    other_pooling: tuple[Pooling, ...] = later(())
    """Further features of the output, whose scores are written to neighbours.csv."""
    inference: Inference = Inference()
    features: KeptFeatures = placement(KeptFeatures())


class EvaluateRecipe(ClassificationRecipe):
    """A classifier that is trained already, with its head; nothing is trained.

    Its images are made as `preprocessing` says: data.test_crop and interpolation have no part in it.
    """

    protocol: Literal["evaluate"] = "evaluate"
    starts_from: tuple[InitStage, ...] | None = placement(None)
    preprocessing: Preprocessing
    """How test images are made; `mimbench evaluate` fills in what the model itself states."""
    inference: Inference = Inference()
