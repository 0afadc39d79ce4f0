"""From features to predictions. A head is one class here; a recipe names it by `kind`.

A head maps features [B, D, grid, grid] to predictions [B, K, r, r]: K values for each of r x r target pixels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Tag

from benchmarks.config import Config, kind_or
from benchmarks.errors import UserError
from pretrain.method.frame import Frame

if TYPE_CHECKING:
    from torch import nn


class Head(Config, ABC):
    """What turns features into predictions. Source: SimMIM (arXiv:2111.09886), section 3.3 and table 2."""

    kind: str

    @abstractmethod
    def build(self, frame: Frame, resolution_px: int, outputs: int) -> nn.Module:
        """Return the head for `outputs` values per pixel of a target of this side, a multiple of the grid's.

        Raises UserError for a resolution that this head cannot predict.
        """


class LinearHead(Head):
    """One linear layer per token; its outputs are laid out as the square of target pixels below the token."""

    kind: Literal["linear"] = "linear"

    def build(self, frame: Frame, resolution_px: int, outputs: int) -> nn.Module:
        from torch import nn

        scale = resolution_px // frame.grid
        return nn.Sequential(nn.Conv2d(frame.features, outputs * scale**2, kernel_size=1), nn.PixelShuffle(scale))


class MlpHead(Head):
    """Two linear layers per token with GELU between, the inner one as wide as the features."""

    kind: Literal["mlp"] = "mlp"

    def build(self, frame: Frame, resolution_px: int, outputs: int) -> nn.Module:
        from torch import nn

        inner = nn.Conv2d(frame.features, frame.features, kernel_size=1)
        return nn.Sequential(inner, nn.GELU(), LinearHead().build(frame, resolution_px, outputs))


class InverseSwinHead(Head):
    """A Swin run backwards: its stages from the last to the first, with patch expanding between them."""

    kind: Literal["inverse_swin"] = "inverse_swin"
    size: Literal["tiny", "base"] = "tiny"

    def build(self, frame: Frame, resolution_px: int, outputs: int) -> nn.Module:
        from pretrain.method.inverse_swin import LAYOUTS, InverseSwin

        layout = LAYOUTS[self.size]
        least = frame.grid * layout.upscale
        if resolution_px % least:
            rule = f"a multiple of {least}, which an inverse Swin predicts from a grid of {frame.grid}"
            raise UserError.about(
                "target.resolution_px", resolution_px, rule, "a higher resolution, or head.kind=linear"
            )
        return InverseSwin(frame.features, frame.grid, layout, resolution_px // least, outputs)


Heads = Annotated[
    Annotated[LinearHead, Tag("linear")]
    | Annotated[MlpHead, Tag("mlp")]
    | Annotated[InverseSwinHead, Tag("inverse_swin")],
    kind_or("linear"),
]
