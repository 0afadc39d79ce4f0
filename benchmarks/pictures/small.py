"""Pictures made small enough for a page, and as addresses inside it."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from benchmarks.pictures.sheet import Pixels

JPEG_QUALITY = 88
LONGEST_PX = 256
SMALLEST_PX = 128
"""Smaller pictures are enlarged by a whole number, to at least this."""


def fit(image: Image.Image, longest_px: int = LONGEST_PX, *, exact: bool = False) -> Image.Image:
    """Return a picture at the size at which it is shown; `exact` keeps its values, as those of a map of classes."""
    width, height = image.size
    if max(width, height) > longest_px:
        scale = longest_px / max(width, height)
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        return image.resize(size, Image.Resampling.NEAREST if exact else Image.Resampling.LANCZOS)
    times = max(1, min(-(-SMALLEST_PX // max(width, height)), longest_px // max(width, height)))
    return image.resize((width * times, height * times), Image.Resampling.NEAREST)


def png_url(png: bytes) -> str:
    """Return a PNG file as the address of a picture inside a page."""
    return _url("png", png)


def picture_url(pixels: Pixels) -> str:
    """Return a picture [H, W, 3] uint8 as an address inside a page: as a PNG, or as a JPEG where that is shorter."""
    image = Image.fromarray(np.ascontiguousarray(pixels))
    files = {kind: io.BytesIO() for kind in ("png", "jpeg")}
    image.save(files["png"], "PNG", optimize=True)
    image.save(files["jpeg"], "JPEG", quality=JPEG_QUALITY, subsampling=0)
    kind, shortest = min(((kind, file.getvalue()) for kind, file in files.items()), key=lambda each: len(each[1]))
    return _url(kind, shortest)


def _url(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
