"""What a checkpoint layout is: one way to name and arrange an encoder's tensors.

timm's layout (of the pinned timm) is the house's own. A layout turns its tensors into timm's and, where we export to
it, back, without changing a bit: renaming, splitting, joining, transposing and permuting only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

Weights = dict[str, Tensor]
Shapes = Mapping[str, tuple[int, ...]]
Family = Literal["swin", "swinv2", "vit", "beit"]


@dataclass(frozen=True)
class Layout:
    """One layout. Names are those that are left when wrapper prefixes (`module.`, `backbone.`, ...) are stripped."""

    name: str
    """As it stands in load reports, e.g. `mmseg-swin`."""
    family: Family
    description: str
    """One line for `mimbench list formats`: whose files these are."""
    recognises: Callable[[Shapes], bool]
    """Tells by keys and shapes, never by file name, whether tensors are in this layout."""
    to_timm: Callable[[Weights], Weights]
    """Returns the encoder's tensors in timm's layout; heads, decoders and buffers may stay or go."""
    from_timm: Callable[[Weights], Weights] | None = None
    """The inverse of `to_timm` on the encoder's tensors, where we export to this layout."""
    names_back: Callable[[Weights], Weights] | None = None
    """The names that `to_timm` reads, for messages; None where `from_timm` gives them, or they are timm's own."""

    def named_back(self, weights: Weights) -> Weights:
        """Give timm's tensors the names of this layout, whatever they then hold."""
        return (self.names_back or self.from_timm or dict)(weights)
