"""One image as a sample of a shard: its key, and its bytes as they are or resized."""

from __future__ import annotations

import hashlib
import io
import posixpath
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError, features
from PIL import __version__ as pillow_version

from benchmarks.data.forms.shards import IMAGES
from benchmarks.data.image_source import ImageSource
from benchmarks.data.pack.manifest import PackOptions, Skipped
from benchmarks.errors import UserError, WorkFailed
from benchmarks.files.pictures import open_picture
from benchmarks.files.pixels import upright_pixels

DAMAGE = (OSError, EOFError, SyntaxError, ValueError, Image.DecompressionBombError)
"""What Pillow raises for a file that holds no whole image."""
SUFFIX_OF = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp"}


class Sample(NamedTuple):
    """An image with its key, which ends before the suffix; `label` is None for images without labels."""

    key: str
    suffix: str
    data: bytes
    label: int | None


class Keys:
    """The keys of a source's images: their names, so written that WebDataset cuts them where the suffix begins.

    A key's last part has no dot, which begins a suffix there, and no two images share a key: of names that differ in
    the suffix alone, the suffix is part of the key. Characters are escaped as in addresses (`%2E` is a dot).
    """

    def __init__(self, images: ImageSource) -> None:
        self._images = images
        digests = np.fromiter((_digest(_plain(images.name(at))) for at in range(len(images))), np.uint64, len(images))
        known, counts = np.unique(digests, return_counts=True)
        self._several = frozenset(known[counts > 1].tolist())

    def __call__(self, position: int) -> str:
        name = self._images.name(position)
        plain = _plain(name)
        # No escaped name ends in a bare "%", so that this is no other image's.
        return f"{_escaped(posixpath.normpath(name))}%" if _digest(plain) in self._several else plain


def _digest(key: str) -> int:
    raw = key.encode(errors="surrogateescape")
    return int.from_bytes(hashlib.blake2b(raw, digest_size=8).digest(), "little")


def _plain(name: str) -> str:
    folder, last = posixpath.split(posixpath.normpath(name))
    stem = posixpath.splitext(last)[0] if suffix_of(last) else last
    return posixpath.join(folder, _escaped(stem))


def _escaped(name: str) -> str:
    folder, last = posixpath.split(name)
    last = last.replace("%", "%25").replace(".", "%2E")
    return posixpath.join(folder, re.sub("^_", "%5F", last) if last.startswith("__") else last)


def suffix_of(name: str) -> str | None:
    """Return the suffix of a name without the dot, in small letters; None for one that is no image's."""
    suffix = posixpath.splitext(name)[1][1:].lower()
    return suffix if re.fullmatch(r"jpe?g|png|webp|bmp|ppm|tiff?|gif", suffix) else None


@dataclass(frozen=True)
class Maker:
    """Makes samples of images."""

    images: ImageSource
    labels: Sequence[int] | None
    options: PackOptions

    @cached_property
    def keys(self) -> Keys:
        return Keys(self.images)

    def __call__(self, position: int) -> Sample | Skipped:
        """Return the sample of an image, or its name where it is damaged and may be skipped.

        Raises WorkFailed for a damaged one that may not, and UserError for a format that shards do not hold.
        """
        try:
            with self.images.open(position) as stream:
                data = stream.read()
            made = _encoded(data, self.options)
        except DAMAGE as error:
            return self._damaged(position, error)
        where, name = self.images.where(position), self.images.name(position)
        suffix = made.suffix or (own if (own := suffix_of(name)) in IMAGES else None)
        if suffix is None:
            rule = f"one of the formats that shards hold ({', '.join(sorted(IMAGES))})"
            remedy = "--short-side N makes JPEG of every image of another format"
            raise UserError.about("image", where, rule, remedy)
        kept = suffix_of(name) if suffix_of(name) in IMAGES and made.data is data else suffix
        label = None if self.labels is None else int(self.labels[position])
        return Sample(self.keys(position), kept or suffix, made.data, label)

    def _damaged(self, position: int, error: Exception) -> Skipped:
        # Pillow's own words name the stream's address in memory.
        reason = "no image format" if isinstance(error, UnidentifiedImageError) else f"{type(error).__name__}: {error}"
        where = self.images.where(position)
        if self.options.damaged != "skip":
            raise WorkFailed(
                f"damaged image {where}: {reason}\n"
                "  remedy: repair or remove it; or pack anew, under another --name: --damaged skip leaves such images "
                "out and names them, --damaged keep packs them as they are"
            )
        return Skipped(position=position, name=self.images.name(position), reason=reason)


class _Encoded(NamedTuple):
    data: bytes
    suffix: str | None
    """None: what the bytes are is not known, or no format that shards hold."""


def _encoded(data: bytes, options: PackOptions) -> _Encoded:
    """Return the bytes of an image as they are, or those of a JPEG where it is to be smaller, upright and RGB."""
    if options.damaged == "keep" and options.short_side_px is None:
        return _Encoded(data, _sniffed(data))
    with open_picture(io.BytesIO(data)) as image:
        held, small = SUFFIX_OF.get(image.format or ""), options.short_side_px
        if small is None or (min(image.size) <= small and held is not None):
            image.load()
            return _Encoded(data, held)
        pixels = upright_pixels(image, "RGB")
    scale = min(1, small / min(pixels.size))
    width, height = (round(side * scale) for side in pixels.size)
    resized = pixels if scale == 1 else pixels.resize((width, height), Image.Resampling.BICUBIC)
    found = io.BytesIO()
    resized.save(found, "JPEG", quality=options.jpeg_quality)
    return _Encoded(found.getvalue(), "jpg")


def _sniffed(data: bytes) -> str | None:
    starts = {b"\xff\xd8\xff": "jpg", b"\x89PNG\r\n\x1a\n": "png"}
    found = next((suffix for start, suffix in starts.items() if data.startswith(start)), None)
    return "webp" if data[:4] == b"RIFF" and data[8:12] == b"WEBP" else found


def resized_with() -> str:
    """Return the libraries whose versions decide the bytes of a resized image."""
    return f"Pillow {pillow_version}, libjpeg {features.version('libjpeg_turbo') or features.version('jpg')}"
