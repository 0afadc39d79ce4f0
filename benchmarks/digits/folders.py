"""The embedded data set: scikit-learn's handwritten digits, real scans, written to disk as image files.

1,797 scans of 8x8 pixels (UCI, "Optical Recognition of Handwritten Digits"), enlarged to 32x32 with bicubic
interpolation. Each scan is in exactly one split; its file name is its row in the original set.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.digits.embedded import write_once
from benchmarks.files.atomic import disk_error, make_folder

if TYPE_CHECKING:
    import numpy as np

VERSION = 1
IMAGE_SIZE_PX = 32
TRAIN_PER_CLASS = 20
TEST_PER_CLASS = 60
SPLITS = ("unlabelled", "train", "test")
MARK = "digits.json"


def write_digits(root: Path) -> str:
    """Write the digits below `root` unless they are there and whole; return their fingerprint.

    Layout: `unlabelled/0007.png`; `train/3/0012.png` and `test/3/0015.png` in ImageFolder form.
    Raises UserError when `root` holds such folders that this function did not write: they are left alone,
    or when `root` cannot be written; WorkFailed when the disk is full.
    """
    return write_once(root, MARK, VERSION, SPLITS, _write)


def labelled_scans(split: str) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (digit, scan [8, 8] uint8) of the split `train` or `test`."""
    for path, scan in _assign():
        if path.parts[0] == split:
            yield int(path.parts[1]), scan


def _write(root: Path) -> None:
    from PIL import Image

    for relative, scan in _assign():
        path = root / relative
        make_folder(path.parent)
        enlarged = Image.fromarray(scan).resize((IMAGE_SIZE_PX, IMAGE_SIZE_PX), Image.Resampling.BICUBIC)
        try:
            enlarged.save(path)
        except OSError as error:
            raise disk_error(error, path, scan.nbytes) from error


def _assign() -> Iterator[tuple[Path, np.ndarray]]:
    """Yield (path below the root, scan [8, 8] uint8) for every scan.

    Within a class the scans are ordered by the sha256 of their pixels: a fixed order that does not follow the people
    who wrote the digits.
    """
    import numpy as np
    from sklearn.datasets import load_digits

    digits = load_digits()
    scans = np.round(digits.images * (255 / 16)).astype(np.uint8)
    order = sorted(range(len(scans)), key=lambda row: hashlib.sha256(scans[row].tobytes()).hexdigest())
    seen = dict.fromkeys(range(10), 0)
    for row in order:
        label = int(digits.target[row])
        rank, seen[label] = seen[label], seen[label] + 1
        if rank < TRAIN_PER_CLASS:
            folder = Path("train", str(label))
        elif rank < TRAIN_PER_CLASS + TEST_PER_CLASS:
            folder = Path("test", str(label))
        else:
            folder = Path("unlabelled")
        yield folder / f"{row:04d}.png", scans[row]
