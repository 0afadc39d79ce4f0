"""Pairs of images with the keypoints that both show, in the layout of SPair-71k.

PairAnnotation/SPLIT/NAME.json    category, src_imname, trg_imname, src_imsize, trg_imsize, src_kps, trg_kps, trg_bndbox
JPEGImages/CATEGORY/IMNAME
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationError, model_validator

from benchmarks.config import Config
from benchmarks.data.fingerprint import Fingerprint, fingerprint
from benchmarks.errors import UserError, first_of
from benchmarks.files.json_files import read_json
from transfer.correspondence.recipe import PairData

PAIRS, IMAGES = "PairAnnotation", "JPEGImages"
ARCHIVE = "SPair-71k"
READERS = 16
SHOWN = 5


def _plain(name: str) -> str:
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        raise ValueError("a name without folders")
    return name


Name = Annotated[str, AfterValidator(_plain)]
Size = Annotated[int, Field(gt=0)]
Pixels = Annotated[float, Field(allow_inf_nan=False)]


class Annotation(Config):
    """What a pair's file says, as far as it is read; points are (x, y) in pixels."""

    category: Name
    src_imname: Name
    trg_imname: Name
    src_imsize: tuple[Size, Size, Size]
    """Width, height, channels."""
    trg_imsize: tuple[Size, Size, Size]
    src_kps: tuple[tuple[Pixels, Pixels], ...] = Field(min_length=1)
    trg_kps: tuple[tuple[Pixels, Pixels], ...]
    trg_bndbox: tuple[Pixels, Pixels, Pixels, Pixels]
    """The object's left, top, right and bottom."""
    mirror: Literal[0] = 0

    @model_validator(mode="after")
    def _agrees(self) -> Annotation:
        if len(self.src_kps) != len(self.trg_kps):
            raise ValueError("src_kps and trg_kps: as many points on both images")
        if self.box_side <= 0:
            raise ValueError("trg_bndbox: left, top, right, bottom of a box that is not empty")
        return self

    @property
    def box_side(self) -> float:
        """The longer side of the object's box on the second image, in pixels."""
        left, top, right, bottom = self.trg_bndbox
        return max(right - left, bottom - top)


@dataclass(frozen=True)
class KeypointPair:
    """Two images and the points that both show."""

    name: str
    """Of its file, without the suffix."""
    source: Path
    target: Path
    annotation: Annotation


@dataclass(frozen=True)
class Pairs:
    """The pairs of a split."""

    root: Path
    test: list[KeypointPair]
    fingerprint: Fingerprint

    @property
    def train(self) -> tuple[KeypointPair, ...]:
        """There are none: nothing is trained."""
        return ()

    @property
    def classes(self) -> tuple[str, ...]:
        """The categories of objects, in the order of their names."""
        return tuple(sorted({pair.annotation.category for pair in self.test}))

    @property
    def images(self) -> list[Path]:
        """All images, each once."""
        return sorted({path for pair in self.test for path in (pair.source, pair.target)})


def read_pairs(root: Path, data: PairData, num_classes: int | None) -> Pairs:
    """Return the pairs of the split, in the order of their files' names.

    Raises UserError, naming files, for a split without pairs, for files that say something else than pairs, for another
    number of categories than the task has, and for images that are not there.
    """
    root = next((each for each in (root, root / ARCHIVE) if (each / PAIRS / data.split).is_dir()), root)
    folder = root / PAIRS / data.split
    files = sorted(folder.glob("*.json"))
    if not files:
        rule = f"a folder with {PAIRS}/{data.split}/*.json, or one that holds it as {ARCHIVE}"
        raise UserError.about("data.root", str(root), rule, "unpack the archive of SPair-71k there")
    with ThreadPoolExecutor(READERS) as readers:  # a network file system answers many at once
        read = list(readers.map(lambda file: _read(root, file), files))
        if faults := [each for each in read if isinstance(each, str)]:
            rule = "the annotation of a pair, as SPair-71k has it"
            raise UserError.about("data", first_of(faults, SHOWN, "; "), rule, "unpack the archive again")
        pairs = [each for each in read if isinstance(each, KeypointPair)]
        images = sorted({path for pair in pairs for path in (pair.source, pair.target)})
        missing = [
            str(path) for path, there in zip(images, readers.map(Path.is_file, images), strict=True) if not there
        ]
    if missing:
        raise UserError.about("data", first_of(missing, SHOWN), f"files, as {folder} names them", "complete the data")
    found = fingerprint(root, images, images=len(images), parts={"pairs": _sha256(pairs)}, sampled=images)
    known = Pairs(root, pairs, found)
    if num_classes not in (None, len(known.classes)):
        rule = f"{num_classes} categories, as the task has"
        raise UserError.about("data", f"{len(known.classes)} in {folder}", rule, "another task, or other data")
    return known


def _read(root: Path, file: Path) -> KeypointPair | str:
    """Return a pair, or what is wrong with its file."""
    try:
        document = read_json(file)
        fields = {name: document[name] for name in Annotation.model_fields if name in document}
        annotation = Annotation.model_validate_json(json.dumps(fields))
    except ValidationError as error:
        first = error.errors()[0]
        return f"{file}: {'.'.join(map(str, first['loc']))}: {first['msg']}"
    except (OSError, ValueError, TypeError) as error:
        return f"{file}: {error}"
    folder = root / IMAGES / annotation.category
    return KeypointPair(file.stem, folder / annotation.src_imname, folder / annotation.trg_imname, annotation)


def _sha256(pairs: Iterable[KeypointPair]) -> str:
    """Return a hash over the names of pairs and what is read of their files."""
    lines = (f"{pair.name} {pair.annotation.model_dump_json()}\n" for pair in pairs)
    return hashlib.sha256("".join(lines).encode(errors="surrogateescape")).hexdigest()
