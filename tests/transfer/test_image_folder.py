"""Folders of classes, as users have them and as they get them wrong."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from torchvision.datasets import ImageFolder

from benchmarks.errors import UserError
from transfer.image_folder import read_image_folders, read_split


def test_it_reads_what_torchvision_reads(digits: Path) -> None:
    ours, theirs = read_split(digits / "train"), ImageFolder(str(digits / "train"))
    assert list(ours.classes) == theirs.classes
    expected = sorted((str(path), label) for path, label in theirs.samples)
    assert sorted(zip(map(str, ours.files), ours.labels, strict=True)) == expected


def test_missing_split(small_digits: Path) -> None:
    with pytest.raises(UserError, match=r"data folder = .*validation\n  rule:   a folder that exists"):
        read_image_folders(small_digits, "train", "validation", 10)


def test_images_without_class_folders(small_digits: Path) -> None:
    with pytest.raises(UserError, match="one sub-folder of images per class"):
        read_image_folders(small_digits, "unlabelled", "test", 10)


def test_empty_class(small_digits: Path) -> None:
    for file in (small_digits / "train" / "7").iterdir():
        file.unlink()
    with pytest.raises(UserError, match=r"train/7\n  rule:   at least one image"):
        read_image_folders(small_digits, "train", "test", 10)


def test_classes_that_differ(small_digits: Path) -> None:
    shutil.rmtree(small_digits / "test" / "3")
    with pytest.raises(UserError, match="only in one of them: 3"):
        read_image_folders(small_digits, "train", "test", 10)


def test_a_task_with_a_fixed_number_of_classes(small_digits: Path) -> None:
    with pytest.raises(UserError, match="1000 classes, as the task says"):
        read_image_folders(small_digits, "train", "test", 1000)
    assert len(read_image_folders(small_digits, "train", "test", None).classes) == 10


def test_the_fingerprint_follows_content_and_names_not_the_place(small_digits: Path, tmp_path: Path) -> None:
    before = read_image_folders(small_digits, "train", "test", 10).fingerprint
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(small_digits, elsewhere)
    assert read_image_folders(elsewhere, "train", "test", 10).fingerprint == before
    file = next((elsewhere / "test" / "0").iterdir())
    file.write_bytes(file.read_bytes() + b"\0")
    assert read_image_folders(elsewhere, "train", "test", 10).fingerprint != before
