"""Tables that `datasets` saved: which columns and features are read, and errors where one is missing."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from benchmarks.data.forms.tables import TableImages, read_saved
from benchmarks.errors import UserError
from tests.support.libraries import library
from tests.support.special_files import never_waiting
from tests.transfer.images.forms import as_huggingface, scans
from transfer.images.read import read_classification_data

datasets = library("datasets", "datasets")


def save(to: Path, features: dict[str, Any], *rows: dict[str, Any]) -> Path:
    datasets.Dataset.from_list(list(rows), features=datasets.Features(features)).save_to_disk(str(to))
    return to


def test_images_as_plain_bytes_and_labels_as_plain_numbers(small_digits: Path, tmp_path: Path) -> None:
    features = {"jpeg": datasets.Value("binary"), "label": datasets.Value("int64"), "id": datasets.Value("string")}
    path, label = scans(small_digits, "train")[5]
    folder = save(tmp_path / "saved", features, {"jpeg": path.read_bytes(), "label": label, "id": "x"})
    found = read_saved(tmp_path, folder, None, None)
    assert (found.names, list(found.labels)) == (None, [label])
    with found.source.open(0) as stream:
        assert stream.read() == path.read_bytes()


def test_images_beside_the_table(small_digits: Path, tmp_path: Path) -> None:
    path, label = scans(small_digits, "train")[5]
    features = {"image": datasets.Image(), "label": datasets.ClassLabel(num_classes=10)}
    folder = save(tmp_path / "saved", features, {"image": str(path), "label": label})
    with read_saved(tmp_path, folder, None, None).source.open(0) as stream:
        assert stream.read() == path.read_bytes()


def test_columns_are_chosen_by_name(small_digits: Path, tmp_path: Path) -> None:
    path, label = scans(small_digits, "train")[12]
    coarse, fine = datasets.ClassLabel(names=["even", "odd"]), datasets.ClassLabel(num_classes=10)
    features = {"image": datasets.Image(), "mask": datasets.Image(), "coarse": coarse, "fine": fine}
    row = {"image": str(path), "mask": str(path), "coarse": label % 2, "fine": label}
    folder = save(tmp_path / "saved", features, row)
    columns = r"image \(Image\), mask \(Image\), coarse \(ClassLabel\), fine \(ClassLabel\)"
    with pytest.raises(UserError, match=rf"data.image_column = .*image or mask\)\n  rule:   one of .*: {columns}\n"):
        read_saved(tmp_path, folder, None, None)
    with pytest.raises(UserError, match=rf"data.label_column = .*coarse or fine\)\n  rule:   one of .*: {columns}\n"):
        read_saved(tmp_path, folder, "image", None)
    with pytest.raises(UserError, match=r"data.label_column = super\n"):
        read_saved(tmp_path, folder, "image", "super")
    assert read_saved(tmp_path, folder, "image", "coarse").names == ("even", "odd")


def test_a_split_without_labels(small_digits: Path, tmp_path: Path) -> None:
    features = {"image": datasets.Image(), "label": datasets.ClassLabel(num_classes=10)}
    path, _ = scans(small_digits, "train")[0]
    folder = save(tmp_path / "saved", features, {"image": str(path), "label": 3}, {"image": str(path), "label": -1})
    with pytest.raises(UserError, match=r"label = -1 in .*saved, row 1\n  rule:   a class number"):
        read_saved(tmp_path, folder, None, None)


def test_a_whole_dictionary_is_no_split_and_a_folder_without_tables_none_either(
    small_digits: Path, tmp_path: Path
) -> None:
    data = as_huggingface(small_digits, tmp_path / "saved")
    with pytest.raises(UserError, match=r"data folder = .*saved\n  rule:   one split of it \(train, test\)"):
        read_classification_data(data.model_copy(update={"train_split": "."}), 10)
    for file in (tmp_path / "saved" / "test").glob("*.arrow"):
        file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(UserError, match=r"a folder that Dataset.save_to_disk wrote"):
        read_classification_data(data, 10)


def naming(root: Path, file: Path) -> TableImages:
    """Return the images of a table whose only row names a file; `Image()` would have stored the file's bytes."""
    image = {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}
    row = {"image": {"bytes": None, "path": str(file)}, "label": 5}
    folder = save(root / "saved", {"image": image, "label": datasets.Value("int64")}, row)
    source = read_saved(root, folder, None, None).source
    assert isinstance(source, TableImages)
    return source


@pytest.mark.parametrize("how", ["elsewhere", "dots", "link"])
def test_a_row_names_no_file_outside_the_data_s_folder(small_digits: Path, tmp_path: Path, how: str) -> None:
    image = scans(small_digits, "train")[5][0]
    root = tmp_path / "root"
    root.mkdir()
    (root / "link.png").symlink_to(image)
    given = {"elsewhere": image, "dots": root / ".." / image.relative_to(tmp_path), "link": root / "link.png"}[how]
    with pytest.raises(OSError, match=f"^the row names a file outside the data's folder: {given}$"):
        naming(root, given).open(0)


def test_a_row_may_name_a_file_inside_the_data_s_folder(small_digits: Path, tmp_path: Path) -> None:
    image = scans(small_digits, "train")[5][0]
    with naming(tmp_path, image).open(0) as stream:
        assert stream.read() == image.read_bytes()


@pytest.mark.parametrize("how", ["above", "absolute", "FIFO"])
def test_a_saved_folder_holds_all_of_its_tables(small_digits: Path, tmp_path: Path, how: str) -> None:
    """Its state.json names the Arrow files, and whoever wrote it could name any file of this machine."""
    row = {"image": (small_digits / "train" / "3").iterdir().__next__().read_bytes(), "label": 3}
    features = {"image": datasets.Value("binary"), "label": datasets.Value("int64")}
    secret = save(tmp_path / "secret", features, row)
    folder = save(tmp_path / "data" / "saved", features, row)
    (table,) = secret.glob("*.arrow")
    named = {"above": f"../../secret/{table.name}", "absolute": str(table), "FIFO": "pipe.arrow"}[how]
    os.mkfifo(folder / "pipe.arrow")
    state = json.loads((folder / "state.json").read_text())
    state["_data_files"] = [{"filename": named}]
    (folder / "state.json").write_text(json.dumps(state))
    words = "a FIFO where an ordinary file belongs" if how == "FIFO" else f"names a file outside the folder: {named}"
    with never_waiting(), pytest.raises(UserError, match=words):
        read_saved(tmp_path / "data", folder, None, None)


def test_a_dictionary_of_splits_is_not_followed_out_of_its_folder(tmp_path: Path) -> None:
    (tmp_path / "dataset_dict.json").write_text(json.dumps({"splits": ["../elsewhere", "\x1b[2J"]}))
    with pytest.raises(UserError, match=r"one split of it \(\.\./elsewhere, \\x1b\[2J\)"):
        read_saved(tmp_path, tmp_path, None, None)
