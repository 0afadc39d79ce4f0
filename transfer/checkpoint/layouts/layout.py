"""What a checkpoint layout is: one way to name and arrange an encoder's tensors.

The layout of the pinned timm is the one used everywhere here. A layout turns its tensors into timm's and, where we
export to it, back, without changing a bit: by renaming, splitting, joining, transposing and permuting only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor


Weights = dict[str, "Tensor"]
Shapes = Mapping[str, tuple[int, ...]]
Family = Literal[
    "swin",
    "swinv2",
    "vit",
    "beit",
    "clip",
    "siglip",
    "aimv2",
    "distilled",
    "eva",
    "video",
    "hiera",
    "sam",
    "sam2",
    "resnet",
    "convnext",
    "torchvision",
    "timm",
]
"""Encoders whose architecture is read from tensors in the same way; "timm": it is stated, and not read at all."""


@dataclass(frozen=True)
class Layout:
    """One layout. Its tensors' names begin after any wrapper prefix (`module.`, `backbone.`, ...) in the file."""

    name: str
    """The name in load reports, e.g. `mmseg-swin`."""
    family: Family
    description: str
    """One line for `mimbench list formats`: whose files these are."""
    recognises: Callable[[Shapes], bool]
    """Whether tensors are in this layout, by their names and shapes and never by the file's name."""
    to_timm: Callable[[Weights], Weights]
    """Returns the encoder's tensors in timm's layout; heads, decoders and buffers may stay or go."""
    from_timm: Callable[[Weights], Weights] | None = None
    """The inverse of `to_timm` on the encoder's tensors, where we export to this layout."""
    names_back: Callable[[Weights], Weights] | None = None
    """Gives tensors the names that `to_timm` reads, for messages; None where `from_timm` does, or names are timm's."""

    def named_back(self, weights: Weights) -> Weights:
        """Return timm's tensors under the names of this layout, for messages: their values may be timm's still."""
        return (self.names_back or self.from_timm or dict)(weights)
