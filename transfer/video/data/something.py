"""The JSON files in which Something-Something v2 is published: labels, and lists of videos with the label of each.

`something-something-v2-labels.json` numbers the labels, `{"Pouring something into something": "56", ...}`; those of the
training and validation videos are lists of `{"id": "74225", "template": "Pouring [something] into [something]", ...}`,
whose template without brackets is the label. A video is called ID.webm.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.errors import UserError
from benchmarks.files.json_files import read_json
from transfer.images.labelled import Found
from transfer.images.lists import Entry

REMEDY = "take Something-Something's own file again"


def listed_videos(file: Path) -> list[Entry]:
    """Return the videos of a list. Raises UserError for JSON of another form, and for an empty list."""
    rows = _read("list of labels", file)
    if not isinstance(rows, list) or not rows:
        raise UserError.about("list of labels", str(file), "a list of videos with id and template", REMEDY)
    return [_entry(row, at, file) for at, row in enumerate(rows, start=1)]


def _entry(row: Any, at: int, file: Path) -> Entry:
    name, template = (row.get(field) if isinstance(row, dict) else None for field in ("id", "template"))
    if not isinstance(name, str) or not isinstance(template, str) or not name:
        raise UserError.about("list of labels", f"{file}: video {at}", "an id and a template, both text", REMEDY)
    return Entry(at, name, template.replace("[", "").replace("]", ""))


def in_order(found: Found, file: Path) -> Found:
    """Return labelled videos whose classes are those of a file of labels, in the order of their numbers.

    Raises UserError for a label that is not in the file, and for numbers that do not count from 0 without a gap.
    """
    labels = _read("data.classes", file)
    numbers = list(labels.values()) if isinstance(labels, dict) else []
    if not numbers or sorted(map(str, numbers)) != sorted(map(str, range(len(numbers)))):
        raise UserError.about("data.classes", str(file), "labels with the numbers 0, 1, ..., each once", REMEDY)
    if found.names is None or (unknown := sorted(set(found.names) - labels.keys())):
        value = f"{unknown[0]} in {found.labelled_by}" if found.names is not None else f"numbers in {found.labelled_by}"
        raise UserError.about("label", value, f"one of the labels in {file}", REMEDY)
    names = tuple(sorted(labels, key=lambda label: int(labels[label])))
    return replace(found, labels=[int(labels[found.names[label]]) for label in found.labels], names=names)


def _read(field: str, file: Path) -> Any:
    try:
        return read_json(file)
    except (OSError, ValueError) as error:
        raise UserError.about(field, f"{file} ({error})", "JSON", REMEDY) from None
