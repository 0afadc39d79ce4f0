"""The embedded data set as pictures with several classes: 2 to 4 digits each, in the layout of PASCAL VOC.

JPEGImages/NAME.jpg, Annotations/NAME.xml with the box of every digit, ImageSets/Main/CLASS_SPLIT.txt with 1, -1 or 0:
small faint digits are marked as difficult, and a list says 0 of a picture on which a class has no others. The scans
keep their split.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from xml.etree import ElementTree

from benchmarks.digits.canvas import DARK, STROKE, Group, groups, ink_of, pixels_of, save_picture, texture
from benchmarks.digits.embedded import write_once
from benchmarks.files.atomic import make_folder, write_atomically

if TYPE_CHECKING:
    import numpy as np

VERSION = 1
CELL_PX, CELLS = 32, 2
"""A picture has CELLS x CELLS cells of the size of a digit's own image, as those to segment have."""
PICTURE_SIZE_PX = CELLS * CELL_PX
SPLITS = {"trainval": ("train", 200), "test": ("test", 100)}
"""The scans and the number of pictures of each split."""
DIGITS_PER_PICTURE = (2, 3, 4)
DIGIT_SIZE_PX = (28, 32)
"""Smallest and largest side of a digit's square."""
DIFFICULT_SHARE, DIFFICULT_SIZE_PX, DIFFICULT_INK = 0.1, 14, 0.5
"""How many digits are difficult, the side of their squares, and their ink as a share of the others'."""
FOLDERS = ("Annotations", "ImageSets", "JPEGImages")
MARK = "digit_labels.json"


class Placed(NamedTuple):
    """A digit and its box (left, top, right, bottom), whose last pixels are inside, from 1 as in VOC."""

    digit: int
    box: tuple[int, int, int, int]
    difficult: bool


class LabelledPicture(NamedTuple):
    """A picture [H, W, 3] uint8 and the digits on it."""

    pixels: np.ndarray
    digits: list[Placed]


def write_digit_labels(root: Path) -> str:
    """Write the pictures and their lists below `root` unless they are there and whole; return their fingerprint.

    Raises as `write_digits` does.
    """
    return write_once(root, MARK, VERSION, FOLDERS, _write)


def _write(root: Path) -> None:
    for folder in (root / "Annotations", root / "ImageSets" / "Main"):
        make_folder(folder)
    first = 1
    for split, (source, count) in SPLITS.items():
        lists: dict[int, list[str]] = {digit: [] for digit in range(10)}
        for number, picture in enumerate(_pictures(source, count), start=first):
            name = f"{number:06d}"
            save_picture(picture.pixels, root / "JPEGImages" / f"{name}.jpg")
            write_atomically(root / "Annotations" / f"{name}.xml", _annotation(name, picture.digits))
            for digit, lines in lists.items():
                found = [each.difficult for each in picture.digits if each.digit == digit]
                lines.append(f"{name} {-1 if not found else 0 if all(found) else 1:2d}\n")
        for digit, lines in lists.items():
            write_atomically(root / "ImageSets" / "Main" / f"digit{digit}_{split}.txt", "".join(lines).encode())
        first += count


def _pictures(split: str, count: int) -> Iterator[LabelledPicture]:
    return (_picture(group) for group in groups(split, count, DIGITS_PER_PICTURE, seed=70))


def _picture(group: Group) -> LabelledPicture:
    """Draw scans, each in a cell of its own, on a texture."""
    import numpy as np

    draw, digits = group.draw, []
    picture = texture(draw, PICTURE_SIZE_PX, DARK)
    cells = draw.permutation(CELLS**2)[: len(group.scans)]
    for cell, (digit, scan) in zip(cells, group.scans, strict=True):
        difficult = bool(draw.uniform() < DIFFICULT_SHARE)
        size = DIFFICULT_SIZE_PX if difficult else int(draw.randint(DIGIT_SIZE_PX[0], DIGIT_SIZE_PX[1] + 1))
        top, left = np.multiply(divmod(cell, CELLS), CELL_PX) + draw.randint(0, CELL_PX - size + 1, 2)
        window = picture[top : top + size, left : left + size]
        ink = ink_of(scan, size)
        window += (DIFFICULT_INK if difficult else 1) * ink[..., None] * (draw.uniform(185, 255, 3) - window)
        rows, columns = (ink >= STROKE).nonzero()
        low, high = (
            (int(left + columns.min()), int(top + rows.min())),
            (int(left + columns.max()), int(top + rows.max())),
        )
        digits.append(Placed(digit, (low[0] + 1, low[1] + 1, high[0] + 1, high[1] + 1), difficult))
    return LabelledPicture(pixels_of(picture), digits)


def _annotation(name: str, digits: list[Placed]) -> bytes:
    """Return the XML that VOC has for a picture."""
    whole = ElementTree.Element("annotation")
    ElementTree.SubElement(whole, "filename").text = f"{name}.jpg"
    size = ElementTree.SubElement(whole, "size")
    for part, value in (("width", PICTURE_SIZE_PX), ("height", PICTURE_SIZE_PX), ("depth", 3)):
        ElementTree.SubElement(size, part).text = str(value)
    for digit, box, difficult in digits:
        thing = ElementTree.SubElement(whole, "object")
        ElementTree.SubElement(thing, "name").text = f"digit{digit}"
        ElementTree.SubElement(thing, "difficult").text = str(int(difficult))
        bounds = ElementTree.SubElement(thing, "bndbox")
        for part, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True):
            ElementTree.SubElement(bounds, part).text = str(value)
    ElementTree.indent(whole)
    return ElementTree.tostring(whole)
