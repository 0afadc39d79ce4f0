"""What an opened picture looks like to every task: upright, of 8 bits, grey or RGB, whatever its file holds.

- EXIF's orientation is applied, as OpenCV and detectron2 do; a block that is damaged says nothing.
- Grey of 16 bits is divided by 257 and rounded, so that the whole range of its type becomes 0 to 255; of colours of 16
  bits Pillow gives the high byte.
- Floating point is taken as 0 to 1 where all of it lies there, else as 0 to 255; whole numbers of 32 bits as 0 to 255.
  Values beyond are refused: nothing in the file says what white is.
- Transparency is dropped, CMYK and palettes become the colours that Pillow gives them, and of several pages or frames
  the first is taken.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from PIL import ExifTags, Image

if TYPE_CHECKING:
    import numpy as np

Turn = Image.Transpose
TURNS = {
    2: Turn.FLIP_LEFT_RIGHT,
    3: Turn.ROTATE_180,
    4: Turn.FLIP_TOP_BOTTOM,
    5: Turn.TRANSPOSE,
    6: Turn.ROTATE_270,
    7: Turn.TRANSVERSE,
    8: Turn.ROTATE_90,
}
"""What makes a picture of each EXIF orientation upright; 1 is upright. Source: Exif 2.32 (CIPA DC-008), tag 0x0112."""
SIDEWAYS = (5, 6, 7, 8)
DAMAGED_EXIF = (OSError, EOFError, SyntaxError, ValueError, KeyError, IndexError, TypeError, struct.error)
WIDE_MODES = ("I;16", "I;16L", "I;16B", "I;16N", "I", "F")
"""Pillow's modes of more than 8 bits, all of one channel. Its own conversion clips them."""
OF_16_BITS = ("PNG", "PPM")
"""Formats whose values Pillow puts on a scale of 16 bits even where it calls their mode `I`."""
EXIF_OF_PNG = {"exif", "Raw profile type exif", "XML:com.adobe.xmp"}


def upright_pixels(image: Image.Image, mode: str) -> Image.Image:
    """Return an opened image upright as `L` or `RGB`. Raises ValueError for values of no known scale."""
    turned = upright(image)
    if turned.mode in WIDE_MODES:
        turned = Image.fromarray(_eight_bits(turned, image.format))
    turned.info.pop("transparency", None)  # Pillow would warn that it is dropped
    return turned if turned.mode == mode else turned.convert(mode)  # Pillow would copy it


def upright(image: Image.Image) -> Image.Image:
    """Return an opened image in its own mode, turned as its EXIF orientation says; the image itself if upright."""
    image.load()
    turn = turn_of(image)
    return image if turn is None else image.transpose(turn)


def turn_of(image: Image.Image) -> Turn | None:
    """Return what makes an opened image upright; None for one that is."""
    return TURNS.get(_orientation(image))


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Return width and height of an opened image when it is upright, without decoding it."""
    width, height = image.size
    if image.format == "TIFF" or (image.format == "PNG" and not EXIF_OF_PNG & image.info.keys()):
        return width, height  # Pillow itself turns a TIFF, and would decode a PNG whole to look for EXIF behind it
    return (height, width) if _orientation(image) in SIDEWAYS else (width, height)


def _orientation(image: Image.Image) -> int:
    try:
        found = image.getexif().get(ExifTags.Base.Orientation)
    except DAMAGED_EXIF:
        return 1
    return found if isinstance(found, int) else 1


def _eight_bits(image: Image.Image, file_format: str | None) -> np.ndarray:
    """Return a grey image of more bits as [H, W] uint8."""
    import numpy as np

    values = np.asarray(image)
    found: np.ndarray
    if image.mode.startswith("I;16") or (image.mode == "I" and file_format in OF_16_BITS):
        found = (values.astype(np.int64) + 128) // 257
        return found.astype(np.uint8)
    low, high = values.min(), values.max()
    if image.mode == "F" and low >= 0 and high <= 1:
        found = np.rint(values * 255)
        return found.astype(np.uint8)
    if low >= 0 and high <= 255:  # not so where a value is NaN
        found = np.rint(values)
        return found.astype(np.uint8)
    kind, scales = ("floating point", "0 to 1 or 0 to 255") if image.mode == "F" else ("32-bit values", "0 to 255")
    raise ValueError(f"{kind} from {low:g} to {high:g}, where only {scales} has a known white")
