"""The fields of a pretraining recipe. Light to import."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from benchmarks.config import Config, later, placement
from benchmarks.data.forms.place import Form
from benchmarks.data.remote.paths import Root
from benchmarks.encoders import IMAGENET_MEAN, IMAGENET_STD, Architecture, find_architecture
from benchmarks.subset import Subset
from benchmarks.training.numbers import Count, Positive, Share, ShareSpan, Span
from benchmarks.training.training import Training
from pretrain.method.heads import Heads, LinearHead
from pretrain.method.masking import Masking, RandomMask
from pretrain.method.targets import Pixels, Targets


class PretrainData(Config):
    """Images without labels, and how they are cropped."""

    root: Root | None = placement(None)
    """Folder of the data set, or an address: s3://bucket/folder, hf://datasets/owner/name, https://host/folder."""
    split: str = "train"
    """Folder below the root, of which every image is used, whatever its sub-folder; or shards or tables:
    `train-{000000..000146}.tar`, `train-*.parquet`."""
    format: Form = placement("auto")
    """folders: image files. webdataset: tar shards. huggingface: a saved `datasets` folder, or parquet files. auto:
    files where there are any, else the form that is found."""
    image_column: str | None = placement(None)
    """huggingface: the column of images; null takes the only one there is."""
    index_folder: str | None = placement(None)
    """webdataset: where the indices of shards are kept; null is mimbench/shards in the cache."""
    subset: Subset | None = later(None)
    """Train on a part of the images, a class being what a folder directly below the split holds, or all that shards or
    tables hold; null trains on all."""
    crop_scale: ShareSpan = (0.67, 1.0)
    """Share of the image's area that a random crop covers."""
    crop_ratio: Span = (3 / 4, 4 / 3)
    horizontal_flip: Share = 0.5
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[Positive, ...] = IMAGENET_STD
    decode: Literal["exact", "fast"] = later("exact")
    """exact: the pixels of torchvision's transforms on PIL images, to the bit. fast: JPEG files are decoded by
    libjpeg-turbo, no larger than crops need (extra `jpeg`); held-out images stay exact."""
    max_unreadable: int = Field(default=10, ge=0)
    """How many unreadable images are skipped and named; one more stops the run."""


class Validation(Config):
    """Images that are held out: the loss on them is measured while training."""

    split: str | None = None
    """Folder, shards or tables below data.root. Give this or `share`."""
    share: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Share of data.split's images that are held out and not trained on; the same ones for every seed."""
    every_epochs: Count = 1

    @model_validator(mode="after")
    def _one_source(self) -> Validation:
        if (self.split is None) == (self.share is None):
            raise ValueError("exactly one of validation.split and validation.share")
        return self


class PretrainTraining(Training):
    """What pretraining adds."""

    fast_step: bool = placement(True)
    """Take the fastest way to the loss that fits encoder, head and target, and one fused update of all weights: equal
    to the plain ones but in the last bits. A run that goes on keeps to what it began with, unless this is given."""
    compile: bool = placement(False)
    """Compile blocks with torch.compile, one graph for all that are alike; sums are taken in another order."""


class PretrainRecipe(Config):
    """SimMIM pretraining. Source of the defaults: microsoft/SimMIM."""

    image_size_px: Count
    encoder: Architecture
    """A name of `mimbench list encoders`, a timm model name, or {name, arguments}."""
    drop_path_rate: Share = 0.0
    masking: Masking = RandomMask()
    """Which patches are hidden, by `kind`: random, square, blockwise."""
    head: Heads = LinearHead()
    """What predicts from features, by `kind`: linear, mlp, inverse_swin."""
    target: Targets = Pixels()
    """What is predicted, by `kind`: pixels, colour_bins, colour_clusters, tokens, dvae_tokens."""
    data: PretrainData
    validation: Validation | None = None
    """Images that are held out; null measures no loss on any."""
    training: PretrainTraining
    export_epochs: tuple[Count, ...] = placement(())
    """After these epochs the encoder is exported as well, so that it can be measured as it was then."""

    @field_validator("encoder", mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        return find_architecture(value) if isinstance(value, str) else value
