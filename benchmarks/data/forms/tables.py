"""Reading folders that Hugging Face's `datasets` saved, and parquet files; both are tables, which hold no code."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from benchmarks.errors import UserError, printable
from benchmarks.files.json_files import read_json
from benchmarks.files.regular import regular

if TYPE_CHECKING:
    from numpy.typing import NDArray

LABEL = "label"
STATE, SPLITS = "state.json", "dataset_dict.json"
"""What `datasets` writes beside a split's Arrow files, and beside the folders of several splits."""


@dataclass(frozen=True)
class TableImages:
    """Encoded images in a column of a `datasets.Dataset`; one is named `PLACE/ROW`, by its place below `root`."""

    root: Path
    files: Sequence[Path]
    place: Path
    dataset: Any
    column: str
    rows: range | NDArray[Any]

    def __len__(self) -> int:
        return len(self.rows)

    def name(self, position: int) -> str:
        return f"{self.place.relative_to(self.root).as_posix()}/{int(self.rows[position])}"

    def where(self, position: int) -> str:
        return f"{self.place}, row {int(self.rows[position])}"

    def open(self, position: int) -> BinaryIO:
        cell = self.dataset[int(self.rows[position])][self.column]
        found = cell if isinstance(cell, dict) else {"bytes": cell}
        if found.get("bytes") is not None:
            return io.BytesIO(found["bytes"])
        if found.get("path"):
            return open(regular(self._below_root(found["path"])), "rb")
        raise OSError("the row holds neither bytes nor a path")

    def _below_root(self, given: str) -> Path:
        """Return the file that a row names. Raises OSError where it lies, links followed, outside the data's folder.

        Otherwise whoever wrote the table could choose any file of this machine.
        """
        path = Path(given).resolve()
        if not path.is_relative_to(self.root.resolve()):
            raise OSError(f"the row names a file outside the data's folder: {printable(given)}")
        return path

    def select(self, positions: Sequence[int] | NDArray[Any]) -> TableImages:
        import numpy as np

        return replace(self, rows=np.asarray(self.rows)[np.asarray(positions, dtype=np.int64)])


@dataclass(frozen=True)
class Table:
    """Images of a table with their labels; these are empty where none were asked for."""

    source: TableImages
    labels: Sequence[int]
    names: tuple[str, ...] | None
    """What the labels mean; None where the table does not say it."""
    labelled_by: str
    """The column of the labels, for messages."""


def read_saved(
    root: Path, folder: Path, image_column: str | None, label_column: str | None, *, labelled: bool = True
) -> Table:
    """Read a folder that `Dataset.save_to_disk` wrote. Raises UserError for any other, or one without such columns."""
    datasets = _library()
    try:
        _require_own_files(folder)
        dataset = datasets.load_from_disk(str(folder))
    except UserError:
        raise
    except (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        rule = "a folder that Dataset.save_to_disk wrote"
        raise UserError.about("data folder", f"{folder} ({printable(str(error))})", rule, "save it again") from None
    return _columns(root, sorted(folder.glob("*.arrow")), folder, dataset, image_column, label_column, labelled)


def _require_own_files(folder: Path) -> None:
    """Raise ValueError where the folder's list of Arrow files leads out of it, or to what is no ordinary file.

    Raises UserError for a dictionary of splits, of which one is to be named.
    """
    if not (folder / STATE).is_file() and (folder / SPLITS).is_file():
        rule = f"one split of it ({printable(', '.join(map(str, read_json(folder / SPLITS)['splits'])))})"
        raise UserError.about("data folder", str(folder), rule, "data.train_split and data.test_split name the splits")
    for row in read_json(folder / STATE)["_data_files"]:
        name = row["filename"]
        if not isinstance(name, str) or Path(name).name != name:
            raise ValueError(f"{STATE} names a file outside the folder: {name}")
        regular(folder / name)


def read_parquet(
    root: Path,
    place: Path,
    files: Sequence[Path],
    image_column: str | None,
    label_column: str | None,
    *,
    labelled: bool = True,
) -> Table:
    """Read parquet files. `datasets` keeps a copy as Arrow in its cache, as single rows of parquet cannot be read."""
    datasets = _library()
    try:
        dataset = datasets.Dataset.from_parquet([str(file) for file in files])
    except (OSError, ValueError, datasets.exceptions.DatasetGenerationError) as error:
        rule = "parquet files with the same columns"
        raise UserError.about("data files", f"{place} ({error})", rule, "complete the files") from None
    return _columns(root, list(files), place, dataset, image_column, label_column, labelled)


def _library() -> Any:
    try:
        import datasets
    except ImportError as error:
        rule = "the library `datasets`, of the extra huggingface"
        raise UserError.about("data.format", f"huggingface ({error})", rule, "`mimbench doctor` says how") from None
    return datasets


def _columns(
    root: Path,
    files: Sequence[Path],
    place: Path,
    dataset: Any,
    image_column: str | None,
    label_column: str | None,
    labelled: bool,
) -> Table:
    import datasets

    features = dataset.features
    image = _choose("image_column", image_column, place, features, [n for n, f in features.items() if _holds_images(f)])
    plain = dataset.with_format(None).select_columns([image])
    if isinstance(features[image], datasets.Image):
        plain = plain.cast_column(image, datasets.Image(decode=False))
    source = TableImages(root, files, place, plain, image, range(len(plain)))
    if not labelled:
        return Table(source, [], None, "")
    classes = [name for name, feature in features.items() if isinstance(feature, datasets.ClassLabel)]
    label = _choose("label_column", label_column, place, features, classes or [n for n in features if n == LABEL])
    labels = dataset.with_format(None)[label][:]  # one read of the column; iterating reads row by row
    at = next((row for row, value in enumerate(labels) if not isinstance(value, int) or value < 0), None)
    if at is not None:  # the hub's test splits have -1 everywhere
        rule = "a class number, from 0"
        raise UserError.about("label", f"{labels[at]!r} in {place}, row {at}", rule, "another split or label_column")
    names = features[label].names if label in classes else None
    return Table(source, labels, tuple(names) if names else None, f"column {label} of {place}")


def _holds_images(feature: Any) -> bool:
    """Return whether a column holds encoded images: an Image, bytes, or a struct with bytes."""
    import datasets

    if isinstance(feature, datasets.Image):
        return True
    if isinstance(feature, dict):
        return "bytes" in feature
    return isinstance(feature, datasets.Value) and feature.dtype in ("binary", "large_binary")


def _choose(field: str, wanted: str | None, place: Path, features: Any, fitting: list[str]) -> str:
    if wanted is not None and wanted in features:
        return wanted
    if wanted is None and len(fitting) == 1:
        return fitting[0]
    columns = ", ".join(f"{name} ({type(feature).__name__})" for name, feature in features.items())
    value = wanted or ("(not given)" if not fitting else f"(not given; it may be {' or '.join(fitting)})")
    raise UserError.about(f"data.{field}", value, f"one of the columns of {place}: {columns}", f"data.{field}=COLUMN")
