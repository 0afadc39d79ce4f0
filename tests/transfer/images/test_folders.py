"""Folders of classes, as users have them and as they get them wrong."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from torchvision.datasets import ImageFolder

from benchmarks.errors import UserError
from transfer.images.folders import read_folders
from transfer.images.labelled import ClassificationSets
from transfer.images.read import read_classification_data
from transfer.images.recipe import ClassificationData


def read(root: Path, num_classes: int | None = 10, train: str = "train", test: str = "test") -> ClassificationSets:
    return read_classification_data(ClassificationData(root=str(root), train_split=train, test_split=test), num_classes)


def test_it_reads_what_torchvision_reads(digits: Path) -> None:
    ours, theirs = read_folders(digits, digits / "train"), ImageFolder(str(digits / "train"))
    assert ours.names == tuple(theirs.classes)
    expected = sorted((str(path), label) for path, label in theirs.samples)
    assert sorted(zip(map(str, ours.source.files), ours.labels, strict=True)) == expected


def test_missing_split(small_digits: Path) -> None:
    with pytest.raises(UserError, match=r"data folder = .*validation\n  rule:   a folder that exists"):
        read(small_digits, test="validation")


def test_images_without_class_folders_and_without_a_list(small_digits: Path) -> None:
    with pytest.raises(
        UserError, match=r"unlabelled \(48 images side by side\)\n.*or a list.*\n.*data.test_labels=FILE"
    ):
        read(small_digits, train="unlabelled")


def test_empty_class(small_digits: Path) -> None:
    for file in (small_digits / "train" / "7").iterdir():
        file.unlink()
    with pytest.raises(UserError, match=r"train/7\n  rule:   at least one image"):
        read(small_digits)


def test_a_class_without_test_images(small_digits: Path) -> None:
    shutil.rmtree(small_digits / "test" / "3")
    with pytest.raises(UserError, match=r"classes = no image of 3 in .*test\n"):
        read(small_digits)


def test_test_images_of_an_unknown_class(small_digits: Path) -> None:
    shutil.copytree(small_digits / "test" / "3", small_digits / "test" / "three")
    with pytest.raises(UserError, match=r"classes = three in .*test\n  rule:   classes of the training images"):
        read(small_digits)


def test_a_task_with_a_fixed_number_of_classes(small_digits: Path) -> None:
    with pytest.raises(UserError, match="1000, as the task says"):
        read(small_digits, 1000)
    assert len(read(small_digits, None).classes) == 10


def test_the_fingerprint_follows_content_and_names_not_the_place(small_digits: Path, tmp_path: Path) -> None:
    before = read(small_digits).fingerprint
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(small_digits, elsewhere)
    assert read(elsewhere).fingerprint == before
    file = next((elsewhere / "test" / "0").iterdir())
    file.write_bytes(file.read_bytes() + b"\0")
    assert read(elsewhere).fingerprint != before


def test_a_split_outside_the_root_is_refused(small_digits: Path) -> None:
    with pytest.raises(UserError, match=r"data split = .*train\n  rule:   below data.root"):
        read(small_digits, train=str(small_digits / "train"))
