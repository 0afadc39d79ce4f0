"""What families are described by: capabilities, and the words of their refusals; layers; levels of feature maps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from torch import Tensor

Weights = dict[str, Tensor]
"""Tensors by timm's names."""


@dataclass(frozen=True)
class Capability:
    """Something that not every model can do, and the words in which it is refused."""

    method: str
    """The method of `Family` that needs it."""
    field: str
    """The setting that is refused."""
    rule: str
    """`{families}` stands for the names of the families that have a way of their own to do it, `{strides}` for the
    strides of the features that the model has."""
    remedy: str


_LIST = "`mimbench list encoders`; SimMIM's ViT is simmim_vit_base"
MASKING: Final = Capability("masked_features", "encoder.name", "of a family that can be masked: {families}", _LIST)
MAPS: Final = Capability(
    "maps",
    "encoder",
    "an encoder with feature maps of strides 4, 8, 16 and 32, or whose last is of stride 16 (this one: {strides})",
    "another encoder; this one can be used for classification and for videos. Patches of another size than 16 are "
    "resized by patch_size_px=16 where the encoder is a plain transformer",
)
TOKENS: Final = Capability(
    "tokens",
    "encoder",
    "an encoder whose blocks and tokens are known",
    "pooling=own without layers, which takes what its own head takes; or protocol=finetune",
)
BLOCKS: Final = Capability(
    "blocks",
    "sharded or activation_checkpointing",
    "false for this encoder, whose blocks are not known",
    "set both to false",
)
LAYERS: Final = Capability(
    "layers",
    "layer_decay",
    "1.0 for this architecture, of which neither a paper nor timm (group_matcher) says what its layers are",
    "set layer_decay=1.0",
)
CAPABILITIES: Final = (MASKING, MAPS, TOKENS, BLOCKS, LAYERS)


@dataclass(frozen=True)
class Layers:
    """Layers for layer-wise learning rates: 0 is the patch embedding, `count - 1` the final norm and the head."""

    count: int
    of: Callable[[str], int]
    """Returns the layer of the parameter of this name."""


PYRAMID: Final = (4, 8, 16, 32)
"""The strides of the maps that dense tasks take, in pixels."""


@dataclass(frozen=True)
class Level:
    """One of a model's feature maps."""

    channels: int
    stride_px: int
    """Pixels per token."""
