"""Finding images and videos below a folder."""

from __future__ import annotations

import os
from collections.abc import Collection
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.errors import UserError, first_of, printable, retold

if TYPE_CHECKING:
    from benchmarks.data.files import IndexedFiles

FOLDER = "data folder"
"""What messages call the folder of a data set, or of a part of it."""
IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".ppm", ".tif", ".tiff", ".webp"}
ARRAY_SUFFIXES = {".npy"}
"""Suffixes of images that no image format holds: arrays [H, W, C] with any number of channels."""
VIDEO_SUFFIXES = {".mp4", ".mkv", ".webm", ".avi", ".mov", ".m4v", ".mpg", ".mpeg", ".flv", ".3gp", ".wmv", ".ts"}


@dataclass(frozen=True)
class Kind:
    """What files are looked for."""

    noun: str
    suffixes: Collection[str]


IMAGES = Kind("image", frozenset(IMAGE_SUFFIXES))
ARRAYS = Kind("image", frozenset(ARRAY_SUFFIXES))
VIDEOS = Kind("video", frozenset(VIDEO_SUFFIXES))


def files_below(folder: Path, kind: Kind = IMAGES) -> IndexedFiles:
    """Return all files of a kind below `folder`, in path order, by the folder's index.

    A link to a folder that was met before is not followed. Raises UserError when there is no folder, or no such file.
    """
    from benchmarks.data.files import IndexedFiles, Part
    from benchmarks.data.index import index_of

    require_folder(folder, kind)
    index = index_of(folder, kind.suffixes)
    if not len(index):
        raise none_found(folder, kind)
    return IndexedFiles(Part(index, str(folder), index.once))


def holds_any(folder: Path, kind: Kind) -> bool:
    """Tell whether there is a file of a kind below a folder."""
    from benchmarks.data.index import index_of

    return folder.is_dir() and len(index_of(folder, kind.suffixes)) > 0


class ByFolder(NamedTuple):
    """The files of the folders directly below a folder, in path order, and how many each of these folders has."""

    files: IndexedFiles
    counts: dict[str, int]


def files_by_folder(folder: Path, kind: Kind = IMAGES) -> ByFolder:
    """Return the files of each folder directly below `folder`; such a folder may have none.

    A link to a folder that was met before below the same of these folders is not followed. Raises UserError when there
    is no folder.
    """
    import numpy as np

    from benchmarks.data.files import IndexedFiles, Part
    from benchmarks.data.index import index_of

    require_folder(folder, kind)
    index = index_of(folder, kind.suffixes)
    counts = {os.fsdecode(name): 0 for name in index.folders if name and b"/" not in name}
    spans = []
    for place, first, end in zip(index.run_folders, index.run_starts, index.run_ends, strict=True):
        if inner := index.folders[place]:
            counts[os.fsdecode(inner.partition(b"/")[0])] += end - first
            spans.append(np.arange(first, end, dtype=np.uint32))
    positions = None if len(spans) == len(index.run_starts) else np.concatenate(spans or [np.empty(0, np.uint32)])
    return ByFolder(IndexedFiles(Part(index, str(folder), positions)), counts)


def require_folder(folder: Path, kind: Kind) -> None:
    """Raise UserError where there is no such folder."""
    if not folder.is_dir():
        remedy = _split_remedy(folder) or _remedy(kind)
        raise UserError.about(FOLDER, str(folder), "a folder that exists", remedy)


def none_found(folder: Path, kind: Kind) -> UserError:
    """Return the error for a folder without files of a kind."""
    rule = f"at least one {kind.noun} ({', '.join(sorted(kind.suffixes))})"
    return UserError.about(FOLDER, str(folder), rule, _remedy(kind))


def named_by(option: str, remedy: str | None = None) -> AbstractContextManager[None]:
    """Let errors about a data folder name the option that gave it, where that is not a recipe's `data.root`.

    `remedy` says how it is given; by default, that the argument has to name another folder.
    """
    said = remedy or f"check the path, or name as {option} the folder where the data lie"
    return retold(FOLDER, lambda value, rule, _: UserError.about(option, value, rule, said))


def _remedy(kind: Kind) -> str:
    return f"set data.root=FOLDER to where the {kind.noun}s are"


def _split_remedy(folder: Path) -> str | None:
    """Return what to do where the data set's folder is there and this part of it is not; None where neither is."""
    beside = sorted(path.name for path in folder.parent.iterdir() if path.is_dir()) if folder.parent.is_dir() else []
    if not beside or folder.parent == Path():
        return None
    named = first_of([printable(name) for name in beside], 5)
    fields = "data.split, data.train_split or data.test_split"
    return f"{printable(str(folder.parent))} has {named}: name the part in {fields}, or set data.root=FOLDER"
