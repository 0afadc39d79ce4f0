"""What an encoder's tensors say about its architecture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from benchmarks.encoders import Architecture, WindowSize


@dataclass(frozen=True)
class Inferred:
    """An architecture read from weights in timm's layout, and what had to be assumed where they do not say it."""

    architecture: Architecture
    """`timm.create_model(name, num_classes=0, **arguments)` takes the weights with `strict=True`."""
    image_size_px: int | None
    """None where no tensor tells."""
    patch_size_px: int
    window_size: WindowSize | None
    """Of the first stage, in patches; None for encoders without windows."""
    remarks: tuple[str, ...] = ()
    """Sentences for the reader that assume nothing, e.g. that windows differ between stages."""
    assumed: Mapping[str, str] = field(default_factory=dict)
    """A sentence for each thing that no tensor tells: `window_size`, `img_size`, `num_heads`, ..."""

    @property
    def notes(self) -> tuple[str, ...]:
        return (*self.remarks, *self.assumed.values())
