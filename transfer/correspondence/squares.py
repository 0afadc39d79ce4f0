"""Images of any shape as squares: resized until the longer side fits, and padded with black on both other sides.

Source: Zhang et al. 2023, Junyi42/sd-dino `utils/utils_correspondence.py` (resize), `pck_spair_pascal.py`
(preprocess_kps_pad).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image


@dataclass(frozen=True)
class PaddedSquare:
    """How an image becomes a square, as a transform of PIL images, and where its points are then."""

    side_px: int

    def __call__(self, image: Any) -> Image.Image:
        """Return an image on a black square."""
        size = self.inner(*image.size)
        square = Image.new(image.mode, (self.side_px, self.side_px))
        square.paste(image.resize(size, Image.Resampling.LANCZOS), self.corner(*image.size))
        return square

    def inner(self, width: int, height: int) -> tuple[int, int]:
        """Return the width and height of an image of such a size on the square."""
        longest = max(width, height)
        short = max(1, int(np.around(self.side_px * min(width, height) / longest)))
        return (self.side_px, short) if height <= width else (short, self.side_px)

    def corner(self, width: int, height: int) -> tuple[int, int]:
        """Return where the upper left corner of such an image lies on the square (x, y)."""
        inner = self.inner(width, height)
        return (self.side_px - inner[0]) // 2, (self.side_px - inner[1]) // 2

    def scale(self, width: int, height: int) -> float:
        """Return by how much such an image is enlarged."""
        return self.side_px / max(width, height)

    def points(self, points: NDArray[np.float64], width: int, height: int) -> NDArray[np.float64]:
        """Return where points [N, 2] (x, y) of such an image lie on the square."""
        found: NDArray[np.float64] = points * self.scale(width, height) + np.array(self.corner(width, height))
        return found

    def back(self, points: NDArray[np.float64], width: int, height: int) -> NDArray[np.float64]:
        """Return where points [N, 2] (x, y) of the square lie on such an image."""
        found: NDArray[np.float64] = (points - np.array(self.corner(width, height))) / self.scale(width, height)
        return found
