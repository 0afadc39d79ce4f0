"""Tables that `datasets` saved: columns, features, and what they lack."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.errors import UserError
from tests.libraries import library
from tests.transfer.images.forms import as_huggingface, scans
from transfer.images.huggingface import read_saved
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
