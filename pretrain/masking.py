"""Which patches are hidden. A strategy is one class here; a recipe names it by `kind`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from benchmarks.config import Config
from benchmarks.errors import UserError

if TYPE_CHECKING:
    from torch import Generator, Tensor


class RandomMask(Config):
    """Patch-aligned random masking. Source: SimMIM (arXiv:2111.09886), section 3.2."""

    kind: Literal["random"] = "random"
    mask_patch_size_px: Annotated[int, Field(ge=1)] = 32
    """Side of the squares that are hidden or shown as a whole."""
    mask_ratio: Annotated[float, Field(gt=0, lt=1)] = 0.6
    """Share of the squares that is hidden, rounded up to whole squares."""

    def check(self, image_size_px: int, patch_size_px: int) -> None:
        """Raise UserError unless squares tile the image and patches tile the squares."""
        size = self.mask_patch_size_px
        if image_size_px % size:
            rule = f"a divisor of image_size_px ({image_size_px})"
            raise UserError.about("masking.mask_patch_size_px", size, rule, f"for example {patch_size_px * 8}")
        if size % patch_size_px:
            rule = f"a multiple of the encoder's patch size ({patch_size_px} px)"
            raise UserError.about("masking.mask_patch_size_px", size, rule, f"for example {patch_size_px * 8}")

    def sample(self, batch: int, image_size_px: int, patch_size_px: int, generator: Generator) -> Tensor:
        """Return masks [batch, H, W] bool on the encoder's patch grid; True = hidden.

        Each mask hides ceil(ratio * cells) cells, drawn uniformly without replacement.
        """
        import torch

        side = image_size_px // self.mask_patch_size_px
        hidden_cells = math.ceil(side * side * self.mask_ratio)
        order = torch.rand(batch, side * side, generator=generator).argsort(dim=1)
        cells = (order < hidden_cells).view(batch, side, side)
        scale = self.mask_patch_size_px // patch_size_px
        return cells.repeat_interleave(scale, dim=1).repeat_interleave(scale, dim=2)


Masking = RandomMask
"""What a recipe may name; a second strategy makes this a union told apart by `kind`."""
