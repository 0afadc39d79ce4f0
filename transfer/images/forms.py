"""Finding out which form the data of a place has, and reading it in that form."""

from __future__ import annotations

import glob
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.errors import UserError
from transfer.images.folders import read_folders
from transfer.images.labelled import Found
from transfer.images.recipe import Form, Storage

PATTERN = set("*?[{")


@dataclass(frozen=True)
class Place:
    """A place on disk that holds one split, and what the recipe says about it."""

    root: Path
    split: str
    storage: Storage
    labels: Path | None
    index_folder: Path

    @property
    def path(self) -> Path:
        return self.root / self.split

    @property
    def is_pattern(self) -> bool:
        return not PATTERN.isdisjoint(self.split)

    def files(self, suffix: str) -> list[Path]:
        """Return the files that a pattern names, the file itself, or the folder's files with the suffix."""
        from transfer.images.shards import expand

        if self.is_pattern:
            escaped = glob.escape(str(self.root))
            named = [f"{escaped}/{each}" for each in expand(self.split)]
            # A name without a wildcard is kept even where there is no such file: its reader says that it is missing.
            return [Path(p) for each in named for p in (sorted(glob.glob(each)) if glob.has_magic(each) else [each])]
        return [self.path] if self.path.is_file() else sorted(self.path.glob(f"*{suffix}"))


def read_place(place: Place) -> Found:
    """Read a place in the form that the recipe states, or else in the one that is found on disk."""
    _require_below_root(place)
    form = place.storage.format if place.storage.format != "auto" else _form_of(place)
    return READERS[form](place)


def _require_below_root(place: Place) -> None:
    parts = Path(place.split).parts
    if Path(place.split).is_absolute() or ".." in parts:
        rule = "below data.root, so that names and fingerprints do not depend on where the data lies"
        raise UserError.about("data split", place.split, rule, "set data.root to a folder above all splits")


def _form_of(place: Place) -> Form:
    if place.labels is not None:
        return "flat"
    if place.is_pattern or place.path.is_file():
        return "huggingface" if place.split.endswith(".parquet") else "webdataset"
    if _is_saved(place.path) or place.files(".parquet"):
        return "huggingface"
    return "webdataset" if place.files(".tar") else "folders"


def _is_saved(folder: Path) -> bool:
    """Return whether the library `datasets` saved a split here, or a dictionary of splits."""
    return any((folder / name).is_file() for name in ("dataset_info.json", "dataset_dict.json"))


def _folders(place: Place) -> Found:
    return read_folders(place.root, place.path)


def _flat(place: Place) -> Found:
    from transfer.images.lists import read_listed

    if place.labels is None:
        rule = "the list of the images' labels, for data.format=flat"
        remedy = "data.train_labels=FILE and data.test_labels=FILE (labels=FILE of a further test set)"
        raise UserError.about("data labels", f"(not given) for {place.path}", rule, remedy)
    return read_listed(place.root, place.path, place.labels)


def _webdataset(place: Place) -> Found:
    from transfer.images.shards import read_shards

    shards = _some(place, ".tar")
    return read_shards(place.root, shards, place.storage.label_field, place.index_folder)


def _huggingface(place: Place) -> Found:
    from transfer.images.huggingface import read_parquet, read_saved

    columns = place.storage.image_column, place.storage.label_column
    if _is_saved(place.path):
        return read_saved(place.root, place.path, *columns)
    return read_parquet(place.root, place.path, _some(place, ".parquet"), *columns)


def _some(place: Place, suffix: str) -> list[Path]:
    files = place.files(suffix)
    if not files:
        rule = f"at least one {suffix} file"
        raise UserError.about("data split", str(place.path), rule, "set data.root and the split to where they are")
    return files


READERS: dict[Form, Callable[[Place], Found]] = {
    "folders": _folders,
    "flat": _flat,
    "webdataset": _webdataset,
    "huggingface": _huggingface,
}
