"""Pictures that others may have made are opened here: of known formats, and of no more pixels than memory is meant for.

A file of some kilobytes may unfold into gigabytes. Its header tells how many pixels it has, before any is decoded.
"""

from __future__ import annotations

from pathlib import Path
from typing import IO

from PIL import Image

MOST_PIXELS = 89_478_485
"""Of a picture or an array: a quarter of a gigabyte as RGB. Beyond it, Pillow warns of a decompression bomb."""
MOST_FRAME_PIXELS = 8192 * 4320
"""Of a frame of a video, many of which lie in memory at once: 8K, in the wider of its two shapes."""
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "DIB", "PPM", "TIFF", "GIF", "JPEG2000")
"""As Pillow names them. What a file holds decides, not its name, and others of Pillow's formats start programs
(EPS starts Ghostscript) or hold pictures of another size than they state (ICO)."""


class TooManyPixels(ValueError):
    """A picture that is larger than the bound."""


def require_pixels(width: int, height: int, most: int = MOST_PIXELS) -> None:
    """Raise TooManyPixels for a picture of more than `most` pixels."""
    if width * height > most:
        raise TooManyPixels(f"{width}x{height} are {width * height:,} pixels, of which at most {most:,} are read")


def open_picture(file: Path | IO[bytes]) -> Image.Image:
    """Open a picture, whose pixels are not decoded yet; the caller closes it.

    Raises TooManyPixels, and what Pillow raises for a file that is no picture of a known format.
    """
    image = Image.open(file, formats=FORMATS)
    try:
        require_pixels(*image.size)
    except TooManyPixels:
        image.close()
        raise
    return image
