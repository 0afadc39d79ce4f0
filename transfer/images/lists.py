"""Reading images of one folder with a list of their labels: ILSVRC's validation images, text, CSV, iNaturalist."""

from __future__ import annotations

import csv
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from benchmarks.data.files import IndexedFiles
from benchmarks.data.found import files_below
from benchmarks.data.image_source import ImageFiles
from benchmarks.errors import UserError
from benchmarks.files.json_files import parse_json
from benchmarks.files.named_files import text_of
from transfer.images.labelled import Found

ILSVRC_NUMBER = re.compile(r"ILSVRC2012_val_(\d{8})")
HEADERS = {"file", "filename", "file_name", "image", "imageid", "image_id", "path", "name", "id"}
KAGGLE = "predictionstring"
NAME_COMMA_NUMBER = re.compile(r"([^\t]+?)\s*,\s*(-?\d+)")


@dataclass(frozen=True)
class Entry:
    """One line of a list."""

    line: int
    name: str | None
    """None in a list that holds labels alone."""
    label: str


def read_listed(root: Path, folder: Path, file: Path) -> Found:
    """Read the images below `folder` that the list names, with their labels.

    Raises UserError for a list that cannot be read, an image that is not there, and a list of which only some lines
    name an image.
    """
    entries = read_entries(file)
    images = files_below(folder)
    files, ilsvrc = images, False
    if entries[0].name is None:
        ilsvrc = _in_turn(images, entries, file)
    else:
        files = images.select(_named(root, folder, images, entries, file))
    return with_labels(ImageFiles(root, files), [entry.label for entry in entries], str(file), ilsvrc=ilsvrc)


def with_labels(
    source: ImageFiles, texts: Sequence[str], labelled_by: str, *, ilsvrc: bool = False, noun: str = "image"
) -> Found:
    """Return files with the labels `texts` that a list gives them, which are all numbers, or names of classes."""
    if all(re.fullmatch(r"-?\d+", text) for text in texts):
        numbers: Literal["ilsvrc", "listed"] = "ilsvrc" if ilsvrc else "listed"
        return Found(source, [int(text) for text in texts], None, labelled_by, numbers, noun=noun)
    names = tuple(sorted(set(texts)))
    position_of = {name: position for position, name in enumerate(names)}
    return Found(source, [position_of[text] for text in texts], names, labelled_by, noun=noun)


def read_entries(file: Path) -> list[Entry]:
    """Read a list by its suffix: .json with COCO's tables, .csv, any other as text with one image per line."""
    text = text_of(file, "list of labels")
    readers = {".json": _coco, ".csv": _csv}
    entries = readers.get(file.suffix.lower(), _text)(text, file)
    if not entries:
        raise UserError.about("list of labels", str(file), "at least one line", "check the path")
    if len({entry.name is None for entry in entries}) == 2:
        odd = next(entry for entry in entries if entry.name is None)
        rule = "an image and its label in every line, or a label alone in every line"
        raise UserError.about("list of labels", f"{file}:{odd.line}: {odd.label}", rule, "correct the line")
    named = Counter(entry.name for entry in entries if entry.name is not None)
    if twice := [name for name, count in named.items() if count > 1][:5]:
        rule = "one label per image"
        raise UserError.about("list of labels", f"{file}: twice: {', '.join(twice)}", rule, "remove the repetition")
    return entries


def _text(text: str, file: Path) -> list[Entry]:  # noqa: ARG001 (the readers' common form)
    """Read lines `NAME LABEL`, as Caffe wrote them, `NAME,NUMBER`, or `LABEL`, as the ILSVRC devkit has them."""
    entries = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        if numbered := NAME_COMMA_NUMBER.fullmatch(line.strip()):
            name, label = numbered.groups()
        else:
            name, _, label = line.strip().rpartition("\t" if "\t" in line.strip() else " ")
        entries.append(Entry(number, name.strip() or None, label))
    return entries


def _csv(text: str, file: Path) -> list[Entry]:
    """Read lines `NAME,LABEL`; in Kaggle's LOC_val_solution.csv, the label is the first word of the second column.

    A file without a single comma is read as text: what SlowFast and pytorchvideo call CSV has spaces.
    """
    if "," not in text:
        return _text(text, file)
    rows = [(number, row) for number, row in enumerate(csv.reader(text.splitlines()), start=1) if row]
    kaggle = bool(rows) and rows[0][1][-1].strip().lower() == KAGGLE
    if rows and rows[0][1][0].strip().lower() in HEADERS:
        rows = rows[1:]
    entries = []
    for number, row in rows:
        if len(row) != 2 or not row[1].strip():
            rule = "two columns, the image and its label"
            raise UserError.about("list of labels", f"{file}:{number}: {','.join(row)}", rule, "correct the line")
        label = row[1].split()[0] if kaggle else row[1].strip()
        entries.append(Entry(number, row[0].strip(), label))
    return entries


def _coco(text: str, file: Path) -> list[Entry]:
    """Read COCO's tables `images` and `annotations`, as iNaturalist has them; an image's label is its category_id."""
    try:
        tables: Any = parse_json(text)
        name_of = {image["id"]: str(image["file_name"]) for image in tables["images"]}
        pairs = [(name_of[found["image_id"]], str(found["category_id"])) for found in tables["annotations"]]
    except (ValueError, KeyError, TypeError) as error:
        rule = "JSON with the tables `images` (id, file_name) and `annotations` (image_id, category_id)"
        raise UserError.about("list of labels", f"{file} ({error!r})", rule, "check the path") from None
    return [Entry(number, name, label) for number, (name, label) in enumerate(pairs, start=1)]


def _in_turn(images: Sequence[Path], entries: Sequence[Entry], file: Path) -> bool:
    """Tell whether ILSVRC's own numbers confirm that the k-th image by name gets line k.

    Raises UserError where they contradict it, or there are more or fewer images than lines.
    """
    if len(images) != len(entries):
        rule = f"one label for each of the {len(images)} images"
        raise UserError.about("list of labels", f"{file}: {len(entries)} lines", rule, "complete images or list")
    numbers = [image_number(path.name) for path in images]
    if all(number is None for number in numbers):
        return False
    for expected, (number, path) in enumerate(zip(numbers, images, strict=True), start=1):
        if number != expected:
            rule = f"image number {expected} here, so that line {expected} of {file.name} is its label"
            raise UserError.about("data folder", str(path), rule, "complete the images")
    return True


def image_number(name: str) -> int | None:
    """Return the number, from 1, that ILSVRC gave an image; None for other names."""
    match = ILSVRC_NUMBER.search(name)
    return int(match[1]) if match else None


def _named(root: Path, folder: Path, images: IndexedFiles, entries: Sequence[Entry], file: Path) -> list[int]:
    """Return where the listed images are among `images`, in the list's order.

    They are found by names below `folder` or `root`, with or without suffix.
    """
    within = {os.fsdecode(name): position for position, name in enumerate(images.names(folder))}
    bare = {str(PurePosixPath(name).with_suffix("")): position for name, position in within.items()}
    prefix = "" if folder == root else f"{folder.relative_to(root).as_posix()}/"
    found: list[int] = []
    for entry in entries:
        assert entry.name is not None
        name = entry.name.replace("\\", "/").removeprefix("./")
        position = within.get(name, within.get(name.removeprefix(prefix), bare.get(name)))
        if position is None:
            rule = f"an image below {folder}"
            remedy = "name images by their path below the split's folder, and complete the images"
            raise UserError.about("list of labels", f"{file}:{entry.line}: {entry.name}", rule, remedy)
        found.append(position)
    if len(set(found)) < len(found):
        path = images[next(position for position, count in Counter(found).items() if count > 1)]
        raise UserError.about(
            "list of labels", f"{file}: twice: {path}", "one label per image", "remove the repetition"
        )
    return found
