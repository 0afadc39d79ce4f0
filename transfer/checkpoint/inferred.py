"""What an encoder's tensors say about its architecture."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.encoders import Architecture


@dataclass(frozen=True)
class Inferred:
    """An architecture read from weights in timm's layout; what the tensors do not say stands in `notes`."""

    architecture: Architecture
    """`timm.create_model(name, num_classes=0, **arguments)` takes the weights with `strict=True`."""
    image_size_px: int | None
    """None where no tensor tells."""
    patch_size_px: int
    window_size: int | None
    """Of the first stage, in patches; None for encoders without windows."""
    notes: tuple[str, ...]
    """Sentences for the reader: what was assumed, and what differs between stages."""
    window_assumed: bool = False
    """True where SwinV2's window is only that of the usual model."""
