"""Pictures as people have them: every kind of task sees the same upright pixels of 8 bits, or names the file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks.data.image_source import ImageFiles
from benchmarks.engine.samples.images import ImageSamples
from benchmarks.engine.samples.unreadable import UnusableError
from pretrain.method.palette import draw_pixels
from tests.support.libraries import library
from transfer.segmentation.data import Pair
from transfer.segmentation.masks import MaskValues
from transfer.segmentation.samples import read_scene

library("pycocotools", "pycocotools")
cv2: Any = library("cv2", "onedl-mmcv")

from transfer.detection.data.coco import Picture  # noqa: E402 (what it imports is skipped above)
from transfer.detection.data.samples import read_view  # noqa: E402

ORIENTATION = 0x0112
HEIGHT, WIDTH = 24, 40
DRAW = np.random.default_rng(3)
COLOURS = np.kron(DRAW.integers(0, 256, (3, 5, 3)), np.ones((8, 8, 1))).astype(np.uint8)
"""Squares, which a JPEG keeps."""
STEPS = np.linspace(0, 1, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH)
"""A ramp over the whole range of a type."""


def _classified(path: Path, size: tuple[int, int]) -> np.ndarray:  # noqa: ARG001 (a mask and a box need it)
    return np.asarray(ImageSamples(ImageFiles(path.parent, [path]), None, np.asarray).read(0)[0])


def _segmented(path: Path, size: tuple[int, int]) -> np.ndarray:
    mask = path.with_name("mask.png")
    Image.new("L", size[::-1], 1).save(mask)
    return read_scene(Pair(path, mask), MaskValues(("one",), first=1, ignored=0)).image[..., ::-1]


def _detected(path: Path, size: tuple[int, int]) -> np.ndarray:
    return read_view(Picture(1, path, size[1], size[0], ()), masks=False).image.permute(1, 2, 0).numpy()


READERS = {"classification and pretraining": _classified, "segmentation": _segmented, "detection": _detected}
every_reader = pytest.mark.parametrize("read", READERS.values(), ids=READERS)


def _by_cv2(values: np.ndarray) -> Callable[[Path], object]:
    return lambda path: cv2.imwrite(str(path), values)


def _by_pillow(image: Image.Image, **options: Any) -> Callable[[Path], object]:
    return lambda path: image.save(path, **options)


WORDS = np.rint(STEPS * 65535).astype(np.uint16)
SINGLE = STEPS.astype(np.float32)
SIXTEEN_BITS = {
    "grey.png": _by_cv2(WORDS),
    "grey.tiff": _by_cv2(WORDS),
    "grey.pgm": _by_cv2(WORDS),
    "big_endian.tiff": _by_pillow(Image.frombytes("I;16B", (WIDTH, HEIGHT), WORDS.astype(">u2").tobytes())),
}


@every_reader
@pytest.mark.parametrize("name", SIXTEEN_BITS)
def test_grey_of_16_bits_keeps_its_whole_range(read: Callable[..., np.ndarray], name: str, tmp_path: Path) -> None:
    SIXTEEN_BITS[name](tmp_path / name)
    assert (cv2.imread(str(tmp_path / name), cv2.IMREAD_UNCHANGED) == WORDS).all()
    assert (read(tmp_path / name, (HEIGHT, WIDTH)) == np.rint(WORDS / 257)[..., None]).all()


SCALES = {
    "floating point from 0 to 1": (_by_cv2(SINGLE), np.rint(SINGLE * 255)),
    "floating point from 0 to 255": (_by_cv2(SINGLE * 255), np.rint(SINGLE * 255)),
    "32 bits from 0 to 255": (
        _by_pillow(Image.fromarray(np.rint(STEPS * 255).astype(np.int32))),
        np.rint(STEPS * 255),
    ),
}


@every_reader
@pytest.mark.parametrize("scale", SCALES)
def test_values_of_a_known_scale_are_put_on_8_bits(read: Callable[..., np.ndarray], scale: str, tmp_path: Path) -> None:
    write, expected = SCALES[scale]
    write(tmp_path / "grey.tiff")
    assert (read(tmp_path / "grey.tiff", (HEIGHT, WIDTH)) == expected[..., None]).all()


UNKNOWN = {
    "floating point from 0 to 4095": _by_cv2(SINGLE * 4095),
    "floating point from -1 to 1": _by_cv2(SINGLE * 2 - 1),
    "floating point from nan to nan": _by_cv2(np.where(SINGLE > 0.5, np.float32("nan"), SINGLE)),
    "32-bit values from 0 to 70000": _by_pillow(Image.fromarray(np.rint(STEPS * 70000).astype(np.int32))),
}


@every_reader
@pytest.mark.parametrize("scale", UNKNOWN)
def test_values_of_no_known_scale_are_named(read: Callable[..., np.ndarray], scale: str, tmp_path: Path) -> None:
    path = tmp_path / "grey.tiff"
    UNKNOWN[scale](path)
    with pytest.raises(UnusableError, match=rf"^{path}: ValueError: {scale}, where only 0 to") as caught:
        read(path, (HEIGHT, WIDTH))
    assert str(caught.value).endswith("has a known white")


SHADES = COLOURS[..., 0]
VEIL = DRAW.integers(0, 256, (HEIGHT, WIDTH, 1)).astype(np.uint8)
PALETTE = Image.fromarray(COLOURS).quantize(8)
OTHER_PAGE = Image.new("RGB", (WIDTH, HEIGHT), (9, 99, 199))
OTHERS: dict[str, tuple[Callable[[Path], object], np.ndarray]] = {
    "rgba.png": (_by_pillow(Image.fromarray(np.dstack([COLOURS, VEIL]))), COLOURS),
    "la.png": (_by_pillow(Image.fromarray(np.dstack([SHADES, VEIL]), "LA")), SHADES[..., None]),
    "palette.png": (_by_pillow(PALETTE, transparency=bytes([0, 128] * 4)), np.asarray(PALETTE.convert("RGB"))),
    "one_bit.png": (_by_pillow(Image.fromarray(SHADES > 99)), np.where(SHADES > 99, 255, 0)[..., None]),
    "pages.tiff": (_by_pillow(Image.fromarray(COLOURS), save_all=True, append_images=[OTHER_PAGE]), COLOURS),
    "frames.webp": (
        _by_pillow(Image.fromarray(COLOURS), save_all=True, append_images=[OTHER_PAGE], lossless=True),
        COLOURS,
    ),
    "cmyk.tiff": (_by_pillow(Image.fromarray(COLOURS).convert("CMYK")), COLOURS),
    "colours.png": (_by_cv2(COLOURS[..., ::-1].astype(np.uint16) * 256 + 77), COLOURS),
}


@every_reader
@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.filterwarnings("error")
def test_other_forms_have_one_meaning(read: Callable[..., np.ndarray], name: str, tmp_path: Path) -> None:
    """Transparency is dropped, the first page taken, and of 16 bits of colour the high byte, as OpenCV does."""
    write, expected = OTHERS[name]
    write(tmp_path / name)
    found = read(tmp_path / name, (HEIGHT, WIDTH))
    assert (found == expected).all()
    if "cmyk" not in name:  # which OpenCV's TIFF does not read
        assert (found == cv2.imread(str(tmp_path / name), cv2.IMREAD_COLOR)[..., ::-1]).all()


SIDES = {
    1: ("top", "left"),
    2: ("top", "right"),
    3: ("bottom", "right"),
    4: ("bottom", "left"),
    5: ("left", "top"),
    6: ("right", "top"),
    7: ("right", "bottom"),
    8: ("left", "bottom"),
}
"""Where the first row and the first column of a picture are seen. Source: Exif 2.32, tag Orientation."""


def seen(stored: np.ndarray, orientation: int) -> np.ndarray:
    """Move every pixel [H, W, C] by itself to where it is seen."""
    row, column = np.mgrid[: stored.shape[0], : stored.shape[1]]
    rows, columns = stored.shape[0] - 1, stored.shape[1] - 1
    place = {}
    for side, along, last in zip(SIDES[orientation], (row, column), (rows, columns), strict=True):
        place["y" if side in ("top", "bottom") else "x"] = along if side in ("top", "left") else last - along
    moved = np.zeros((place["y"].max() + 1, place["x"].max() + 1, 3), np.uint8)
    moved[place["y"], place["x"]] = stored
    return moved


@every_reader
@pytest.mark.parametrize("suffix", ["jpg", "png", "tiff", "webp"])
@pytest.mark.parametrize("orientation", SIDES)
def test_pictures_stand_upright(read: Callable[..., np.ndarray], suffix: str, orientation: int, tmp_path: Path) -> None:
    path, exif = tmp_path / f"turned.{suffix}", Image.Exif()
    Image.fromarray(COLOURS).save(tmp_path / f"stored.{suffix}", lossless=True)
    exif[ORIENTATION] = orientation
    Image.fromarray(COLOURS).save(path, exif=exif, lossless=True)
    with Image.open(tmp_path / f"stored.{suffix}") as image:
        expected = seen(np.asarray(image.convert("RGB")), orientation)
    assert (read(path, expected.shape[:2]) == expected).all()
    if suffix == "jpg":
        assert (cv2.imread(str(path))[..., ::-1] == expected).all(), "as OpenCV reads it"


def test_the_pixels_of_a_palette_are_those_of_every_reader(tmp_path: Path) -> None:
    path = tmp_path / "grey.png"
    Image.fromarray(np.full((8, 8), 300 * 100, np.uint16)).save(path)
    assert np.unique(draw_pixels([path], "L", 4, 0)).tolist() == [pytest.approx(round(30000 / 257) / 255)]


def test_damaged_exif_leaves_a_picture_readable(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    whole, path = exif.tobytes(), tmp_path / "image.png"
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 0xFF
        Image.fromarray(COLOURS).save(path, exif=bytes(damaged))
        assert sorted(_classified(path, (HEIGHT, WIDTH)).shape) == [3, HEIGHT, WIDTH]


@pytest.mark.parametrize("read", [_segmented, _detected])
def test_annotations_belong_to_the_upright_picture(read: Callable[..., np.ndarray], tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 8
    path = tmp_path / "phone.jpg"
    Image.fromarray(COLOURS).save(path, exif=exif)
    assert read(path, (WIDTH, HEIGHT)).shape == (WIDTH, HEIGHT, 3)
    with pytest.raises(UnusableError, match="24x40"):
        read(path, (HEIGHT, WIDTH))
