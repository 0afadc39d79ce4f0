"""The embedded data set: scikit-learn's handwritten digits, real scans, written to disk as image files.

1,797 scans of 8x8 pixels (UCI, "Optical Recognition of Handwritten Digits"), enlarged to 32x32 with bicubic
interpolation. Each scan is in exactly one split; its file name is its row in the original set.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.errors import UserError
from benchmarks.files import disk_error, make_folder, write_atomically
from benchmarks.fingerprint import find_images, fingerprint

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
    if (known := _fingerprint_if_whole(root)) is not None:
        return known
    from PIL import Image

    _claim(root)
    for split in SPLITS:
        shutil.rmtree(root / split, ignore_errors=True)
    for relative, scan in _assign():
        path = root / relative
        make_folder(path.parent)
        enlarged = Image.fromarray(scan).resize((IMAGE_SIZE_PX, IMAGE_SIZE_PX), Image.Resampling.BICUBIC)
        try:
            enlarged.save(path)
        except OSError as error:
            raise disk_error(error, path, scan.nbytes) from error
    found = str(fingerprint(root, find_images(root)))
    write_atomically(root / MARK, json.dumps({"version": VERSION, "fingerprint": found}).encode())
    return found


def _claim(root: Path) -> None:
    """Mark `root` as ours before anything in it is replaced, so that an interrupted writing can be taken up again."""
    theirs = [split for split in SPLITS if (root / split).exists()]
    if theirs and not (root / MARK).exists():
        rule = f"without {' or '.join(theirs)}, or written by this program (then it has {MARK})"
        raise UserError.about("digits folder", str(root), rule, "name an empty or new folder")
    make_folder(root)
    write_atomically(root / MARK, json.dumps({"version": VERSION, "fingerprint": None}).encode())


def _fingerprint_if_whole(root: Path) -> str | None:
    try:
        mark = json.loads((root / MARK).read_text())
        found = str(fingerprint(root, find_images(root)))
    except (OSError, ValueError):  # no mark, a damaged one, or no image left (UserError is a ValueError)
        return None
    if not isinstance(mark, dict) or mark.get("version") != VERSION:
        return None
    return found if found == mark.get("fingerprint") else None


def _assign() -> Iterator[tuple[Path, np.ndarray]]:
    """Yield (path below the root, scan [8, 8] uint8) for every scan.

    Within a class the scans are ordered by the sha256 of their pixels: a fixed order that follows no writer.
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
