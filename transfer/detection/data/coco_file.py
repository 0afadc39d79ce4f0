"""Reading JSON in COCO's format into rows whose fields have the right types, without any engine or COCO's tools.

https://cocodataset.org/#format-data
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import itertools
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from benchmarks.errors import UserError
from benchmarks.files.regular import regular

Row = dict[str, Any]
SHOWN = 5
LARGEST = 1e12
"""Numbers of JSON may be larger than any float; a larger one than this is refused."""
COCO_RULE = "COCO's object detection format: an object with the lists images, annotations and categories"


@dataclass(frozen=True)
class CocoFile:
    """The rows of a file. Polygons, and the counts of RLEs that are not compressed, have become arrays of numbers."""

    path: Path
    images: list[Row]
    annotations: list[Row]
    categories: list[Row]
    sha256: str


def read_coco_file(path: Path) -> CocoFile:
    """Read a file and check its rows one by one; whether they refer to each other rightly is left to the caller.

    Raises UserError, naming rows, for a file that is not in COCO's format, fields that are missing or of another type,
    and ids that are given twice.
    """
    try:
        content = regular(path).read_bytes()
        document = from_json(content, allow_inf_nan=False)  # three times as fast as Python's own
    except OSError as error:
        rule = "a file that can be read"
        raise UserError.about(str(path), error.strerror or str(error), rule, "check data.root and the path") from None
    except ValueError as error:
        raise UserError.about(str(path), str(error), "JSON in " + COCO_RULE, "correct or replace the file") from None
    lists = [document.get(name) if isinstance(document, dict) else None for name in _FAULTS]
    for name, rows in zip(_FAULTS, lists, strict=True):
        if not isinstance(rows, list):
            found = f"{name}: {type(rows).__name__}" if isinstance(document, dict) else type(document).__name__
            raise UserError.about(str(path), found, COCO_RULE, "name the file of instances, or convert yours to it")
        _check_rows(path, name, rows)
    images, annotations, categories = lists
    return CocoFile(path, images or [], annotations or [], categories or [], hashlib.sha256(content).hexdigest())


def refuse(path: Path, faults: Iterable[str], rule: str, remedy: str) -> None:
    """Raise UserError with the first few of the `faults` and the number of the others, if there are any."""
    rest = iter(faults)
    if shown := list(itertools.islice(rest, SHOWN)):
        more = sum(1 for _ in rest)
        text = "; ".join(shown) + (f"; and {more} more" if more else "")
        raise UserError.about(str(path), text, rule, remedy)


@contextlib.contextmanager
def without_collection() -> Iterator[None]:
    """Switch Python's garbage collector off, which would look again and again at millions of objects in use."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _compact(row: Row) -> None:
    """Replace an annotation's lists of numbers by arrays, a quarter of their size; other lists stay as they are."""
    with contextlib.suppress(TypeError, OverflowError):
        outline = row.get("segmentation")
        if type(outline) is list:
            row["segmentation"] = [array("d", polygon) for polygon in outline]
        elif type(outline) is dict and type(outline.get("counts")) is list:
            outline["counts"] = array("I", outline["counts"])


def _check_rows(path: Path, name: str, rows: list[Any]) -> None:
    fault_of = _FAULTS[name]
    faults = (f"{name}[{at}]: {fault}" for at, row in enumerate(rows) if (fault := _row_fault(row, fault_of)))
    refuse(path, faults, f"{name} as in COCO's format", "correct these entries, or remove them")
    ids = [row["id"] for row in rows]
    if len(set(ids)) < len(ids):
        twice = (f"id {number} ({times} times)" for number, times in Counter(ids).items() if times > 1)
        refuse(path, twice, f"an id of its own for each of the {name}", "number them anew")


def _row_fault(row: Any, fault_of: Callable[[Row], str | None]) -> str | None:
    if type(row) is not dict:
        return f"{row!r:.40} is no object"
    try:
        return fault_of(row)
    except KeyError as missing:
        return f"has no {missing.args[0]}"


def _image_fault(row: Row) -> str | None:
    width, height, name = row["width"], row["height"], row["file_name"]
    if type(row["id"]) is not int:
        return f"id {row['id']!r} is no whole number"
    if type(width) is not int or type(height) is not int or width < 1 or height < 1:
        return f"width and height are {width!r} and {height!r}"
    if type(name) is not str or not name or Path(name).is_absolute() or ".." in Path(name).parts:
        return f"file_name {name!r} is no path below the folder of images"
    return None


def _category_fault(row: Row) -> str | None:
    if type(row["id"]) is not int:
        return f"id {row['id']!r} is no whole number"
    return None if type(row["name"]) is str and row["name"] else f"name {row['name']!r} is no text"


def _annotation_fault(row: Row) -> str | None:
    for field in ("id", "image_id", "category_id"):
        if type(row[field]) is not int:
            return f"{field} {row[field]!r} is no whole number"
    box = row["bbox"]
    if type(box) is not list or len(box) != 4 or not all(map(_is_number, box)):
        return f"bbox {box!r:.80} is not [x, y, width, height]"
    if not _is_number(row["area"]):
        return f"area {row['area']!r} is no number"
    if row.get("iscrowd", 0) not in (0, 1):
        return f"iscrowd {row['iscrowd']!r} is neither 0 nor 1"
    _compact(row)
    return _segmentation_fault(row.get("segmentation"))


def _is_number(value: Any) -> bool:
    return (type(value) is float or type(value) is int) and -LARGEST < value < LARGEST


def _segmentation_fault(outline: Any) -> str | None:
    if outline is None:
        return None
    if type(outline) is list:
        whole = all(type(polygon) is array for polygon in outline)
        return None if whole else "segmentation has a polygon that is no list of numbers"
    if type(outline) is not dict or not outline.keys() >= {"size", "counts"}:
        return f"segmentation {outline!r:.40} is neither polygons nor an RLE with size and counts"
    size, counts = outline["size"], outline["counts"]
    if type(size) is not list or len(size) != 2 or not all(type(side) is int and side > 0 for side in size):
        return f"segmentation.size {size!r:.40} is not [height, width]"
    if not isinstance(counts, array | str):
        return f"segmentation.counts {counts!r:.40} are no run lengths"
    runs = run_lengths(counts) if isinstance(counts, str) else counts
    if min(runs, default=0) < 0 or sum(runs) != size[0] * size[1]:
        return f"segmentation.counts have {sum(runs)} pixels, size is {size}"
    return None


def run_lengths(counts: str) -> list[int]:
    """Return the run lengths of a compressed RLE, to be checked: for missing ones pycocotools draws what memory holds.

    A character, counted from "0", holds 5 bits of a number, and a sixth that says whether the next one continues it;
    the last character's fifth bit is the sign. From the fourth on, numbers are differences to the last but one. Source:
    cocoapi, `maskApi.c`.
    """
    runs: list[int] = []
    value = bits = 0
    for character in counts:
        code = ord(character) - 48
        value |= (code & 31) << bits
        bits += 5
        if not code & 32:
            value -= (code & 16) << (bits - 4)
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = bits = 0
    return runs


_FAULTS: dict[str, Callable[[Row], str | None]] = {
    "images": _image_fault,
    "annotations": _annotation_fault,
    "categories": _category_fault,
}
