"""An encoder's architecture as far as its tensors show it, and what is assumed beyond that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from benchmarks.encoders import Architecture, WindowSize


def without_norm(methods: str) -> str:
    """Return the remark on a file without the norm that its encoder ends with."""
    return f"no norm after the last block, as {methods} pretrain: the encoder's begins as it is built, as 1 and 0"


@dataclass(frozen=True)
class Inferred:
    """An architecture read from weights in timm's layout, and what had to be assumed where they do not show it."""

    architecture: Architecture
    """`timm.create_model(name, num_classes=0, **arguments)` takes the weights with `strict=True`."""
    image_size_px: int | None
    """None where no tensor shows it."""
    patch_size_px: int
    window_size: WindowSize | None
    """The window of the first stage, in patches; None for encoders without windows."""
    remarks: tuple[str, ...] = ()
    """Sentences for the reader that are no assumptions, e.g. that windows differ between stages."""
    assumed: Mapping[str, str] = field(default_factory=dict)
    """A sentence for each argument that no tensor shows: `window_size`, `img_size`, `num_heads`, ..."""

    norms_as_built: Mapping[str, int] = field(default_factory=dict)
    """Names and widths of norms that files of this kind never hold: they begin as 1 and 0, as the model builds them."""

    @property
    def notes(self) -> tuple[str, ...]:
        """All remarks and assumptions."""
        return (*self.remarks, *self.assumed.values())
