"""Finding out which form the data of a place has, and reading it in that form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.data.forms.place import Place, require_shards_elsewhere
from benchmarks.errors import UserError
from transfer.images.folders import read_folders
from transfer.images.labelled import Found
from transfer.images.recipe import Form, Storage


@dataclass(frozen=True)
class LabelledPlace(Place):
    """A place, and what the recipe says about it."""

    storage: Storage
    labels: Path | None
    index_folder: Path


def read_place(place: LabelledPlace) -> Found:
    """Read a place in the form that the recipe states, or else in the one that is found on disk."""
    place.require_below_root()
    require_shards_elsewhere(place, place.storage.format)
    form = place.storage.format if place.storage.format != "auto" else _form_of(place)
    return READERS[form](place)


def _form_of(place: LabelledPlace) -> Form:
    return "flat" if place.labels is not None else place.packed_form() or "folders"


def _folders(place: LabelledPlace) -> Found:
    return read_folders(place.root, place.path)


def _flat(place: LabelledPlace) -> Found:
    from transfer.images.lists import read_listed

    if place.labels is None:
        rule = "the list of the images' labels, for data.format=flat"
        remedy = "data.train_labels=FILE and data.test_labels=FILE (labels=FILE of a further test set)"
        raise UserError.about("data labels", f"(not given) for {place.path}", rule, remedy)
    return read_listed(place.root, place.path, place.labels)


def _webdataset(place: LabelledPlace) -> Found:
    from benchmarks.data.forms.shards import read_shards

    shards = place.some_files(".tar")
    found = read_shards(place.root, shards, place.storage.label_field, place.index_folder)
    return Found(found.source, found.labels, None, "the shards' labels")


def _huggingface(place: LabelledPlace) -> Found:
    from benchmarks.data.forms.tables import read_parquet, read_saved

    columns = place.storage.image_column, place.storage.label_column
    if place.is_saved:
        found = read_saved(place.root, place.path, *columns)
    else:
        found = read_parquet(place.root, place.path, place.some_files(".parquet"), *columns)
    return Found(found.source, found.labels, found.names, found.labelled_by)


READERS: dict[Form, Callable[[LabelledPlace], Found]] = {
    "folders": _folders,
    "flat": _flat,
    "webdataset": _webdataset,
    "huggingface": _huggingface,
}
