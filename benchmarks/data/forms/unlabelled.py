"""Images of a place without their labels, in any of the forms in which they may lie there."""

from __future__ import annotations

from pathlib import Path

from benchmarks.data.forms.place import Form, Place, require_shards_elsewhere
from benchmarks.data.found import Kind, files_below, holds_any
from benchmarks.data.image_source import ImageFiles, ImageSource


def read_unlabelled(
    place: Place, kind: Kind, form: Form, image_column: str | None, index_folder: Path | None
) -> ImageSource:
    """Return the images of a place: files of a kind at any depth, or what shards or tables hold.

    `auto` takes files where there are any. `index_folder` is where indices of shards are kept, if not in the cache.
    Raises UserError where there are none.
    """
    place.require_below_root()
    require_shards_elsewhere(place, form)
    if form == "auto":
        is_folder = not place.is_pattern and not place.path.is_file()
        form = "folders" if is_folder and holds_any(place.path, kind) else place.packed_form() or "folders"
    if form == "webdataset":
        from benchmarks.data.forms.shards import default_index_folder, read_shards

        return read_shards(place.root, place.some_files(".tar"), None, index_folder or default_index_folder()).source
    if form == "huggingface":
        from benchmarks.data.forms.tables import read_parquet, read_saved

        if place.is_saved:
            return read_saved(place.root, place.path, image_column, None, labelled=False).source
        files = place.some_files(".parquet")
        return read_parquet(place.root, place.path, files, image_column, None, labelled=False).source
    return ImageFiles(place.root, files_below(place.path, kind))
