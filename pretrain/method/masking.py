"""Which patches are hidden. A strategy is one class here; a recipe names it by `kind`.

Masks are drawn for a whole batch at once, on the device of the generator, without waiting for it.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, Tag

from benchmarks.config import Config, kind_or
from benchmarks.errors import UserError
from benchmarks.training.numbers import Count

if TYPE_CHECKING:
    from torch import Generator, Tensor


class PatchMask(Config, ABC):
    """A strategy that hides or shows squares of pixels as a whole. All masks of a batch hide equally many."""

    kind: str
    mask_patch_size_px: Count = 32
    """Side of the squares that are hidden or shown as a whole."""
    mask_ratio: Annotated[float, Field(gt=0, lt=1)] = 0.6
    """Share of the squares that is hidden."""

    def hidden_cells(self, side: int) -> int:
        """Return how many of side * side squares are hidden: the ratio, rounded up."""
        return math.ceil(side * side * self.mask_ratio)

    @abstractmethod
    def cells(self, batch: int, side: int, generator: Generator) -> Tensor:
        """Return masks [batch, side, side] bool on the grid of squares; True = hidden."""

    def check(self, image_size_px: int, patch_size_px: int) -> None:
        """Raise UserError unless squares tile the image, patches tile the squares, and a square stays visible."""
        size = self.mask_patch_size_px
        fitting = [each for each in range(patch_size_px, image_size_px, patch_size_px) if image_size_px % each == 0]
        remedy = f"one of {', '.join(map(str, fitting))}"
        if image_size_px % size:
            rule = f"a divisor of image_size_px ({image_size_px})"
            raise UserError.about("masking.mask_patch_size_px", size, rule, remedy)
        if size % patch_size_px:
            rule = f"a multiple of the encoder's patch size ({patch_size_px} px)"
            raise UserError.about("masking.mask_patch_size_px", size, rule, remedy)
        side = image_size_px // size
        if not 0 < self.hidden_cells(side) < side * side:
            rule = f"a share that leaves one of the {side * side} squares of {size} px visible"
            raise UserError.about("masking.mask_ratio", self.mask_ratio, rule, "a lower ratio, or smaller squares")

    def sample(self, batch: int, image_size_px: int, patch_size_px: int, generator: Generator) -> Tensor:
        """Return masks [batch, H, W] bool on the encoder's patch grid; True = hidden."""
        return finer(
            self.cells(batch, image_size_px // self.mask_patch_size_px, generator), image_size_px // patch_size_px
        )


def finer(cells: Tensor, side: int) -> Tensor:
    """Return masks [B, s, s] on a grid [B, side, side] that divides their squares."""
    scale = side // cells.shape[-1]
    return cells.repeat_interleave(scale, dim=1).repeat_interleave(scale, dim=2)


class RandomMask(PatchMask):
    """Squares drawn uniformly without replacement. Source: SimMIM (arXiv:2111.09886), section 3.2."""

    kind: Literal["random"] = "random"

    def cells(self, batch: int, side: int, generator: Generator) -> Tensor:
        """Hide ceil(ratio * squares) of each image."""
        import torch

        keys = torch.rand(batch, side * side, generator=generator, device=generator.device)
        return (keys.argsort(dim=1) < self.hidden_cells(side)).view(batch, side, side)


class SquareMask(PatchMask):
    """One square region at a random place of the grid. Source: SimMIM, section 4.1.2.

    Its side is the whole number of squares whose area comes nearest: at 192 px, squares of 32 px and ratio 0.11, 0.25,
    0.44 it is 2, 3 and 4 of 6.
    """

    kind: Literal["square"] = "square"

    def _region_side(self, side: int) -> int:
        return max(1, round(math.sqrt(self.mask_ratio) * side))

    def hidden_cells(self, side: int) -> int:
        """Return the area of the region."""
        return self._region_side(side) ** 2

    def cells(self, batch: int, side: int, generator: Generator) -> Tensor:
        """Hide one region of each image, all places equally likely."""
        import torch

        length, device = self._region_side(side), generator.device
        first = torch.randint(side - length + 1, (2, batch, 1), generator=generator, device=device)
        place = torch.arange(side, device=device)
        rows, columns = (place >= first) & (place < first + length)
        region: Tensor = rows[:, :, None] & columns[:, None, :]
        return region


class BlockwiseMask(PatchMask):
    """Rectangles of random area and aspect, one over the other. Source: BEiT (arXiv:2106.08254), algorithm 1.

    ceil(ratio * squares) are hidden in each image: a rectangle that would hide more is passed over, and squares drawn
    at random make up what no rectangle has hidden.
    """

    kind: Literal["blockwise"] = "blockwise"
    min_block_size_px: Count = 64
    """A rectangle's area is drawn between that of a square of this side and the area that is left to hide.
    The default is BEiT's: 16 patches of 16 px."""
    min_aspect: Annotated[float, Field(gt=0, le=1)] = 0.3
    """Height / width lies between this and its inverse."""
    proposals: ClassVar[int] = 32
    """Rectangles drawn per image: at 192 px and ratio 0.8, 0.3 % of what is hidden is then left to single squares."""

    def cells(self, batch: int, side: int, generator: Generator) -> Tensor:
        """Hide rectangles in each image until the ratio is reached."""
        import torch

        device, count = generator.device, self.hidden_cells(side)
        smallest = max(1.0, (self.min_block_size_px / self.mask_patch_size_px) ** 2)
        place = torch.arange(side, device=device)
        hidden = torch.zeros(batch, side, side, dtype=torch.bool, device=device)
        for _ in range(self.proposals):
            left = (count - hidden.sum(dim=(1, 2))).float()
            draws = torch.rand(4, batch, generator=generator, device=device)
            area = smallest + (left - smallest) * draws[0]
            aspect = torch.exp((1 - 2 * draws[1]) * math.log(self.min_aspect))
            sides = torch.stack([(area * aspect).sqrt(), (area / aspect).sqrt()]).round().clamp(min=1)
            first = (draws[2:] * (side - sides + 1)).floor()
            rows, columns = (place >= first[..., None]) & (place < (first + sides)[..., None])
            grown = hidden | (rows[:, :, None] & columns[:, None, :])
            fits = (sides < side).all(dim=0) & (grown.sum(dim=(1, 2)) <= count)
            hidden = torch.where(fits[:, None, None], grown, hidden)
        keys = torch.rand(batch, side * side, generator=generator, device=device)
        first_hidden = keys.masked_fill(hidden.flatten(1), -1).topk(count, largest=False).indices
        filled: Tensor = hidden.flatten(1).scatter(1, first_hidden, True)
        return filled.view(batch, side, side)


Masking = Annotated[
    Annotated[RandomMask, Tag("random")]
    | Annotated[SquareMask, Tag("square")]
    | Annotated[BlockwiseMask, Tag("blockwise")],
    kind_or("random"),
]
