"""JPEG files decoded by libjpeg-turbo's own interface, and no larger than random crops of them need.

A picture is decoded at a half, a quarter or an eighth of its size where crops of that are at least three quarters as
large as they have to become: libjpeg-turbo then leaves out high frequencies, most of which such a crop would not show
either. Other fractions take it longer than the whole, having no vector instructions. Decoded whole, pixels are Pillow's
to the bit, and crops to the rounding of their resizing. libjpeg-turbo's faster transform (`fastdct`) is left alone: it
darkens pictures by 0.8 levels of 255.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from benchmarks.engine.samples.images import MODES
from benchmarks.errors import UserError
from benchmarks.files.pictures import open_picture
from benchmarks.files.pixels import turn_of, upright_pixels
from pretrain.recipe import PretrainData

REDUCTIONS = (8, 4, 2)
MOST_ENLARGED = 4 / 3
"""How many times the side of a decoded crop is enlarged, at most, where it was decoded reduced."""
COLOURS = {1: "GRAY", 3: "RGB"}
SPARE_BYTES = 2**24
"""What a file may have beside four bytes for each pixel; a larger one is read as others are, piece by piece."""

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class DecodedJpeg:
    """A picture of `width` times `height` pixels, of which [height / reduction, width / reduction, C] were decoded."""

    pixels: NDArray[Any]
    width: int
    height: int
    reduction: int

    def cut(self, box: Box, size_px: int) -> Tensor:
        """Return a crop as bytes [size_px, size_px, C]; its edges are moved to the nearest ones that were decoded."""
        left, upper, right, lower = (round(edge / self.reduction) for edge in box)
        part = np.ascontiguousarray(self.pixels[upper:lower, left:right])  # torch would take longer over strides
        resized: Tensor = interpolate(
            torch.from_numpy(part).permute(2, 0, 1)[None], (size_px, size_px), mode="bilinear", antialias=True
        )
        return resized[0].permute(1, 2, 0)


class FastJpegs:
    """Reads pictures for random crops: JPEG files the fast way, all others, and damaged ones, as they always are."""

    def __init__(self, data: PretrainData, size_px: int, channels: int) -> None:
        """Raise UserError where simplejpeg is not installed."""
        self._decode = decode_jpeg()
        self._data, self._size_px, self._channels = data, size_px, channels

    def read(self, stream: IO[bytes]) -> DecodedJpeg | Image.Image:
        """Return what `read_image` returns, or the same as `DecodedJpeg`. Raises what `read_image` raises."""
        with open_picture(stream) as image:
            plain = image.format == "JPEG" and image.mode in MODES.values() and turn_of(image) is None
            found = self._decoded(stream, *image.size) if plain else None
            return found or upright_pixels(image, MODES[self._channels])

    def _decoded(self, stream: IO[bytes], width: int, height: int) -> DecodedJpeg | None:
        """Return the picture of a whole file; None for one in which libjpeg-turbo finds any fault."""
        if stream.seek(0, os.SEEK_END) > 4 * width * height + SPARE_BYTES:
            return None
        stream.seek(0)
        shortest = shortest_crop_px(width, height, self._data)
        reduction = next((each for each in REDUCTIONS if shortest * MOST_ENLARGED >= each * self._size_px), 1)
        rows, columns = -(-height // reduction), -(-width // reduction)
        try:
            pixels = self._decode(stream.read(), COLOURS[self._channels], min_height=rows, min_width=columns)
        except ValueError:
            return None
        return DecodedJpeg(pixels, width, height, reduction) if pixels.shape[:2] == (rows, columns) else None


def shortest_crop_px(width: int, height: int, data: PretrainData) -> float:
    """Return the shortest side that a random crop of such a picture can have, but for rounding."""
    low, high = data.crop_ratio
    return min(width, height, math.sqrt(data.crop_scale[0] * width * height * min(low, 1 / high)))


def decode_jpeg() -> Any:
    """Return simplejpeg's function. Raises UserError where it is not installed."""
    try:
        from simplejpeg import decode_jpeg
    except ImportError as error:
        rule = "exact, unless simplejpeg is installed"
        raise UserError.about("data.decode", f"fast ({error})", rule, "pip install 'mimbench[jpeg]'") from None
    return decode_jpeg
