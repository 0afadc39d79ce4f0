"""Finding images, and whether two copies of a data set are the same."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import pytest

import benchmarks.data.fingerprint
from benchmarks.data.fingerprint import fingerprint
from benchmarks.data.found import files_below
from benchmarks.errors import UserError
from tests.support.special_files import never_waiting, put, special_files


@pytest.fixture
def images(tmp_path: Path) -> Path:
    root = tmp_path / "images"
    (root / "cat").mkdir(parents=True)
    (root / "cat" / "b.png").write_bytes(b"second")
    (root / "a.JPEG").write_bytes(b"first")
    (root / "cat" / "notes.txt").write_bytes(b"no image")
    (root / "cat" / "._b.png").write_bytes(b"a Mac's shadow file")
    return root


def print_of(root: Path) -> str:
    return fingerprint(root, files_below(root)).sha256


def test_images_are_found_by_suffix_in_a_fixed_order(images: Path) -> None:
    assert [str(path.relative_to(images)) for path in files_below(images)] == ["a.JPEG", "cat/b.png"]


def test_hash_is_over_names_and_the_sha256_of_contents(images: Path) -> None:
    lines = [
        b"a.JPEG\0" + hashlib.sha256(b"first").hexdigest().encode() + b"\n",
        b"cat/b.png\0" + hashlib.sha256(b"second").hexdigest().encode() + b"\n",
    ]
    found = fingerprint(images, files_below(images))
    assert found.sha256 == hashlib.sha256(b"".join(lines)).hexdigest()
    assert str(found) == f"2 images, content {found.sha256[:16]}"


def test_copy_elsewhere_has_the_same_fingerprint(images: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(images, tmp_path / "copy")
    assert print_of(copy) == print_of(images)


@pytest.mark.parametrize("change", ["content", "name", "more", "less"])
def test_changed_copy_has_another_fingerprint(images: Path, change: str) -> None:
    before = print_of(images)
    match change:
        case "content":
            (images / "a.JPEG").write_bytes(b"First")
        case "name":
            (images / "a.JPEG").rename(images / "c.JPEG")
        case "more":
            (images / "z.png").write_bytes(b"first")
        case "less":
            (images / "a.JPEG").unlink()
    assert print_of(images) != before


def test_large_sets_are_distinguished_by_sizes(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmarks.data.fingerprint, "CONTENT_LIMIT_BYTES", 10)  # the two files hold 11 bytes
    found = fingerprint(images, files_below(images))
    assert found.method == "sizes"
    assert found.sha256 == hashlib.sha256(b"a.JPEG\x005\ncat/b.png\x006\n").hexdigest()


def test_dangling_link_counts_as_an_image_that_cannot_be_read(images: Path) -> None:
    before = print_of(images)
    (images / "link.png").symlink_to("nowhere.png")
    assert [path.name for path in files_below(images)] == ["a.JPEG", "b.png", "link.png"]
    assert print_of(images) != before


def test_name_that_is_not_utf8_is_hashed(images: Path) -> None:
    Path(os.fsdecode(os.fsencode(images) + b"/\xe9t\xe9.png")).write_bytes(b"summer")
    assert fingerprint(images, files_below(images)).images == 3


@pytest.mark.parametrize("made", [False, True], ids=["missing", "empty"])
def test_folder_without_images_gets_the_remedy(tmp_path: Path, made: bool) -> None:
    folder = tmp_path / "data"
    if made:
        folder.mkdir()
    with pytest.raises(UserError) as caught:
        files_below(folder)
    field, rule, remedy = str(caught.value).splitlines()
    assert field == f"data folder = {folder}"
    assert rule == ("  rule:   a folder that exists" if not made else rule)
    assert "at least one image" in rule or not made
    assert "data.root=FOLDER" in remedy


def test_a_part_that_is_not_there_is_answered_with_those_that_are(tmp_path: Path) -> None:
    for part in ("val", "train"):
        (tmp_path / "images" / part).mkdir(parents=True)
    with pytest.raises(UserError) as caught:
        files_below(tmp_path / "images" / "test")
    assert f"remedy: {tmp_path / 'images'} has train, val: name the part in data.split" in str(caught.value)


def test_a_link_back_to_its_own_folder_counts_no_image_twice(images: Path) -> None:
    (images / "cat" / "again").symlink_to(images, target_is_directory=True)
    assert len(files_below(images)) == 2


def test_a_linked_folder_is_followed(images: Path, tmp_path: Path) -> None:
    (tmp_path / "linked").symlink_to(images, target_is_directory=True)
    assert len(files_below(tmp_path / "linked")) == 2


@special_files
def test_what_is_no_ordinary_file_counts_as_an_image_that_cannot_be_read(images: Path, kind: str) -> None:
    (images / "odd.png").symlink_to("nowhere.png")
    dangling = print_of(images)
    put(images / "odd.png", kind)
    with never_waiting():
        assert print_of(images) == dangling
