"""Images with masks in the layout of the ADE20K challenge: found, paired and checked by their headers.

    images/training/NAME.jpg     annotations/training/NAME.png     (any image format; masks of one channel)
    images/validation/NAME.jpg   annotations/validation/NAME.png

A mask's value 0 is outside every class and ignored; 1 to num_classes are the classes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from benchmarks.data.fingerprint import Fingerprint, fingerprint
from benchmarks.data.found import files_below
from benchmarks.engine.samples.unreadable import UNREADABLE
from benchmarks.errors import UserError, first_of
from benchmarks.files.pictures import open_picture
from benchmarks.files.pixels import upright_size
from benchmarks.files.regular import regular
from transfer.segmentation.masks import MaskValues

MASK_MODES = ("1", "L", "P", "I", "I;16", "I;16B")
READERS = 16
SHOWN = 5


@dataclass(frozen=True)
class Pair:
    """An image and its mask."""

    image: Path
    mask: Path


@dataclass(frozen=True)
class Scenes:
    """A training and a test set with the same classes."""

    root: Path
    train: list[Pair]
    test: list[Pair]
    values: MaskValues
    fingerprint: Fingerprint

    @property
    def classes(self) -> tuple[str, ...]:
        return self.values.classes


def read_scenes(root: Path, train_split: str | None, test_split: str, values: MaskValues, own: bool = False) -> Scenes:
    """Find and pair both splits below `root`, or the test split alone. `own`: the recipe says what masks hold.

    Raises UserError, naming files, for an image without a mask, a mask without an image, a mask of another size than
    its image or of several channels. Files whose header cannot be read are left to the loader, which counts them.
    """
    train = [] if train_split is None else read_split(root, train_split)
    test = read_split(root, test_split)
    pairs = train + test
    _check_headers(pairs)
    files = [pair.image for pair in pairs] + [pair.mask for pair in pairs]
    parts = {"mask values": values.sha256} if own else {}
    found = fingerprint(root, files, parts=parts, sampled=[pair.image for pair in test])
    return Scenes(root, train, test, values, dataclasses.replace(found, images=len(pairs)))


def read_split(root: Path, split: str) -> list[Pair]:
    """Return the images of one split with their masks, which have the same path but for its suffix, in path order.

    Raises UserError for an image without a mask, and a mask without an image.
    """
    images, masks = (_by_name(root / kind / split) for kind in ("images", "annotations"))
    _refuse(images.keys() - masks.keys(), images, "a mask for every image", f"below {root / 'annotations' / split}")
    _refuse(masks.keys() - images.keys(), masks, "an image for every mask", f"below {root / 'images' / split}")
    return [Pair(images[name], masks[name]) for name in sorted(images)]


def _by_name(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in files_below(folder):
        name = path.relative_to(folder).with_suffix("").as_posix()
        if name in found:
            rule = f"one file of a name ({found[name].name} is there too)"
            raise UserError.about("data", str(path), rule, "remove one of the two")
        found[name] = path
    return found


def _refuse(names: Iterable[str], files: dict[str, Path], rule: str, where: str) -> None:
    if lone := sorted(names):
        shown = first_of([str(files[name]) for name in lone], SHOWN)
        raise UserError.about("data", shown, rule, f"add what is missing {where}, or remove the file")


def _check_headers(pairs: list[Pair]) -> None:
    with ThreadPoolExecutor(READERS) as readers:  # a network file system answers many at once
        faults = [fault for fault in readers.map(_header_fault, pairs) if fault]
    if faults:
        rule = "masks of one channel with their image's size"
        remedy = "make these masks again, or remove them with their images"
        raise UserError.about("data", first_of(faults, SHOWN, "; "), rule, remedy)


def _header_fault(pair: Pair) -> str | None:
    try:
        with open_picture(regular(pair.image)) as image, open_picture(regular(pair.mask)) as mask:
            (width, height), (columns, rows), mode = upright_size(image), upright_size(mask), mask.mode
    except UNREADABLE:
        return None
    if (width, height) != (columns, rows):
        return f"{pair.mask}: {columns}x{rows}, but {pair.image.name} is {width}x{height}"
    return None if mode in MASK_MODES else f"{pair.mask}: channels {mode}"


def class_names(root: Path, num_classes: int) -> tuple[str, ...]:
    """Return the names in objectInfo<N>.txt, the table in ADE20K's archive; "class 1" etc. where there is none.

    Raises UserError for a table that does not name the classes 1 to `num_classes`.
    """
    path = root / f"objectInfo{num_classes}.txt"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return tuple(f"class {number}" for number in range(1, num_classes + 1))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError.about(str(path), str(error), "a readable table of classes", "correct or remove it") from None
    header, *rows = [line.split("\t") for line in lines if line.strip()] or [[""]]
    names = [(row[0].strip(), row[-1].strip()) for row in rows]
    numbers = [str(number) for number in range(1, num_classes + 1)]
    if header[-1].strip() != "Name" or [number for number, _ in names] != numbers:
        rule = f"tab-separated, a header that ends in Name, and the classes 1 to {num_classes} in order"
        raise UserError.about(str(path), f"{len(rows)} rows", rule, "take ADE20K's own file, or remove this one")
    return tuple(name for _, name in names)
