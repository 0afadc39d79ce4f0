"""Reading lists of videos with their labels: lines `path label`, and the CSV files in which Kinetics is published."""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from benchmarks.data.files import IndexedFiles, packed
from benchmarks.data.found import VIDEOS, files_below
from benchmarks.data.image_source import ImageFiles
from benchmarks.errors import UserError
from benchmarks.files.named_files import text_of
from transfer.images.labelled import Found
from transfer.images.lists import Entry, read_entries, with_labels

READERS = 16
"""How many files are looked for at once: a network file system answers many in the time of one."""


@dataclass(frozen=True)
class Listed:
    """The listed videos that are on disk, and the names of those that are not."""

    found: Found
    missing: list[str]


def read_video_list(root: Path, folder: Path, file: Path) -> Listed:
    """Read a list; its videos lie below `folder`, below `root`, or at their absolute paths.

    Raises UserError for a list without labels, a video listed twice, or no video at all on disk.
    """
    entries = _entries(file)
    places = _places(root, folder, [str(entry.name) for entry in entries])
    there = [(entry, path) for entry, path in zip(entries, places, strict=True) if path is not None]
    if not there:
        rule = f"paths below {folder}, below {root}, or absolute"
        value = f"{file}: none of {len(entries)} videos is there, not even {entries[0].name}"
        raise UserError.about("list of labels", value, rule, "set data.root to the folder that the paths begin in")
    paths = [path for _, path in there]
    if twice := [str(path) for path, count in Counter(paths).items() if count > 1]:
        value = f"{file}: twice: {', '.join(twice[:5])}"
        raise UserError.about("list of labels", value, "one label per video", "remove the repetition")
    base = base_of(root, paths)
    source = ImageFiles(base, packed(base, paths))
    found = with_labels(source, [entry.label for entry, _ in there], str(file), noun="video")
    return Listed(found, [str(entry.name) for entry, path in zip(entries, places, strict=True) if path is None])


def base_of(root: Path, files: Sequence[Path]) -> Path:
    """Return the folder below which all files lie: the root, or else the deepest folder that they have in common."""
    if isinstance(files, IndexedFiles) and files.lie_below(root):
        return root
    return root if all(file.is_relative_to(root) for file in files) else Path(os.path.commonpath(files))


def _entries(file: Path) -> list[Entry]:
    text = text_of(file, "list of labels")
    rows = csv.DictReader(text.splitlines())
    if "youtube_id" in (rows.fieldnames or ()):
        return _published(rows, file)
    entries = read_entries(file)
    if entries[0].name is None:
        rule = "a path and its label in every line, apart by a space, a tab or a comma"
        value = f"{file}:{entries[0].line}: {entries[0].label}"
        raise UserError.about("list of labels", value, rule, "add the labels")
    return entries


def _published(rows: csv.DictReader[str], file: Path) -> list[Entry]:
    """Read Kinetics' own columns; a video is named by its id with start and end in seconds, without a suffix."""
    entries = []
    for row in rows:
        try:
            start, end = (int(float(row[column])) for column in ("time_start", "time_end"))
            entries.append(Entry(rows.line_num, f"{row['youtube_id']}_{start:06d}_{end:06d}", row["label"].strip()))
        except (KeyError, TypeError, ValueError, AttributeError):
            rule = "the columns label, youtube_id, time_start and time_end"
            value = f"{file}:{rows.line_num}"
            raise UserError.about("list of labels", value, rule, "take Kinetics' own file again") from None
    if not entries:
        raise UserError.about("list of labels", str(file), "at least one video", "take Kinetics' own file again")
    return entries


def _places(root: Path, folder: Path, names: Sequence[str]) -> list[Path | None]:
    """Return each video's path, None where it is not on disk.

    It is found by its name below `folder`, with or without suffix or class folder, or else as a path below `root`.
    """
    videos = files_below(folder, VIDEOS) if folder.is_dir() else []
    stems = Counter(path.stem for path in videos)
    known = {path.stem: path for path in videos if stems[path.stem] == 1}
    known |= {path.relative_to(folder).with_suffix("").as_posix(): path for path in videos}
    known |= {path.relative_to(folder).as_posix(): path for path in videos}

    def place(name: str) -> Path | None:
        if (path := known.get(name.replace("\\", "/").removeprefix("./"))) is not None:
            return path
        return root / name if (root / name).is_file() else None

    with ThreadPoolExecutor(READERS) as readers:
        return list(readers.map(place, names))
