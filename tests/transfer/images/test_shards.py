"""Tar shards: what WebDataset defines, and what goes wrong with them."""

from __future__ import annotations

import gzip
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmarks.data.forms.place import expand
from benchmarks.data.forms.shards import read_shards
from benchmarks.errors import UserError
from benchmarks.files.arrays import read_arrays, write_arrays
from tests.support.special_files import never_waiting, put, special_files
from tests.transfer.images.forms import add_member, as_shards
from transfer.images.read import read_classification_data
from transfer.images.recipe import ClassificationData


@pytest.fixture
def shards(small_digits: Path, tmp_path: Path) -> ClassificationData:
    return as_shards(small_digits, tmp_path / "shards")


def one_shard(tmp_path: Path, *members: tuple[str, bytes]) -> Path:
    path = tmp_path / "one.tar"
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            add_member(tar, name, content)
    return path


def read_one(path: Path, field: str = "label") -> list[tuple[str, int]]:
    found = read_shards(path.parent, [path], field, path.parent / "indices")
    return [(found.source.name(position), label) for position, label in enumerate(found.labels)]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("train-{000000..000002}.tar", ["train-000000.tar", "train-000001.tar", "train-000002.tar"]),
        ("{a,b}/{9..11}.tar", ["a/9.tar", "a/10.tar", "a/11.tar", "b/9.tar", "b/10.tar", "b/11.tar"]),
        ("train-*.tar", ["train-*.tar"]),
        ("{08..11}", ["08", "09", "10", "11"]),
    ],
)
def test_patterns_expand_as_in_a_shell(pattern: str, names: list[str]) -> None:
    assert expand(pattern) == names


def test_a_key_ends_at_the_first_dot_of_the_name_and_other_members_do_not_matter(tmp_path: Path) -> None:
    path = one_shard(
        tmp_path,
        ("__meta__.json", b"{}"),
        ("v1.5/cat.7.JPG", b"no image: its suffix is 7.jpg"),
        ("v1.5/cat.7.cls", b"1"),
        ("v1.5/dog.jpeg", b"x"),
        ("v1.5/dog.seg.png", b"x"),
        ("v1.5/dog.cls", b" 4\n"),
        ("v1.5/dog.txt", b"a dog"),
    )
    assert read_one(path) == [("one.tar/v1.5/dog.jpeg", 4)]


def test_labels_in_json(tmp_path: Path, small_digits: Path) -> None:
    path = one_shard(tmp_path, ("a.jpg", b"x"), ("a.json", json.dumps({"label": 2, "fine": 31}).encode()))
    assert read_one(path) == [("one.tar/a.jpg", 2)]
    assert read_one(path, "fine") == [("one.tar/a.jpg", 31)]
    with pytest.raises(
        UserError, match=r"one.tar: a: .*31.*\n  rule:   a whole number in .cls, or in the field 'coarse'"
    ):
        read_one(path, "coarse")
    by_json = as_shards(small_digits, tmp_path / "json", label="json")
    by_cls = as_shards(small_digits, tmp_path / "cls")
    labels = [read_classification_data(data, 10).train.labels for data in (by_json, by_cls)]
    assert list(labels[0]) == list(labels[1])


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ([("a.jpg", b"x"), ("b.jpg", b"x"), ("b.cls", b"1")], r"label = .*one.tar: a: no label"),
        ([("a.jpg", b"x"), ("a.cls", b"cat")], r"label = .*one.tar: a: b'cat'"),
        ([("a.jpg", b"x"), ("a.cls", b"-1")], r"label = .*one.tar: a: -1"),
        ([("a.jpg", b"x"), ("a.cls", b"9" * 30)], r"label = .*one.tar: a: 9{30}"),
        ([("a.jpg", b"x"), ("a.cls", b"9" * 5000)], r"label = .*one.tar: a: b'9{70,80}"),
        ([("a.jpg", b"x"), ("a.json", b"[1]")], r"label = .*one.tar: a: b'\[1\]'"),
        ([("a.jpg", b"x"), ("a.cls", b"1"), ("a.png", b"x")], r"one.tar: a: jpg, png\n  rule:   one image per key"),
        (
            [("a.jpg", b"x"), ("a.cls", b"1"), ("a.jpg", b"x")],
            r"one.tar: a.jpg again\n  rule:   the members of a key side",
        ),
        ([("a.jpg", b"x"), ("a.cls", b"1"), ("b.cls", b"1"), ("a.txt", b"x")], r"one.tar: a.txt again"),
        ([("a.cls", b"1")], r"shards = .*\n  rule:   shards with images"),
    ],
)
def test_what_is_wrong_in_a_shard_is_named_by_shard_and_key(
    tmp_path: Path, members: list[tuple[str, bytes]], words: str
) -> None:
    with pytest.raises(UserError, match=words):
        read_one(one_shard(tmp_path, *members))


def test_a_label_out_of_range_is_named_by_shard_and_key(shards: ClassificationData, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "shards" / "test-000002.tar", "a") as tar:
        add_member(tar, "late.png", b"x")
        add_member(tar, "late.cls", b"10")
    with pytest.raises(UserError, match=r"label = 10 of .*test-000002.tar/late.png, .*\n  rule:   from 0 to 9\n"):
        read_classification_data(shards, 10)


def whole_members(content: bytes) -> list[int]:
    """Return the places between members: a shard that ends there looks whole but for its end mark."""
    import io

    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        return [member.offset for member in tar][1:]


def middle(content: bytes) -> list[int]:
    return [1, 300, 512, 600, 1100, len(content) // 2, len(content) // 2 + 77]


@pytest.mark.parametrize("cuts", [whole_members, middle])
def test_a_shard_cut_off_anywhere_is_refused(
    shards: ClassificationData, tmp_path: Path, cuts: Callable[[bytes], list[int]]
) -> None:
    shard = tmp_path / "shards" / "train-000001.tar"
    content = shard.read_bytes()
    end = whole_members(content)[-1]
    for cut in cuts(content[: end + 1024]) if cuts is middle else cuts(content):
        shard.write_bytes(content[:cut])
        with pytest.raises(
            UserError, match=r"shard = .*train-000001.tar .*\n  rule:   an uncompressed tar file, whole"
        ):
            read_classification_data(shards, 10)


def test_a_compressed_and_a_missing_shard_are_refused(shards: ClassificationData, tmp_path: Path) -> None:
    shard = tmp_path / "shards" / "train-000001.tar"
    shard.write_bytes(gzip.compress(shard.read_bytes()))
    with pytest.raises(UserError, match=r"train-000001.tar .*\n  rule:   an uncompressed tar file"):
        read_classification_data(shards, 10)
    shard.unlink()
    with pytest.raises(UserError, match=r"shard = .*train-000001.tar\n  rule:   a tar file that exists"):
        read_classification_data(shards, 10)


def test_the_index_is_kept_and_made_again_for_a_changed_shard(shards: ClassificationData, tmp_path: Path) -> None:
    first = read_classification_data(shards, 10)
    kept = sorted((tmp_path / "shards" / "indices").iterdir())
    assert len(kept) == 9
    again = read_classification_data(shards, 10)
    assert again.fingerprint == first.fingerprint
    shard = tmp_path / "shards" / "train-000000.tar"
    with tarfile.open(shard, "a") as tar:
        add_member(tar, "more.png", b"x")
        add_member(tar, "more.cls", b"3")
    changed = read_classification_data(shards, 10)
    assert len(changed.train.labels) == 41
    assert changed.fingerprint != first.fingerprint


def test_a_damaged_index_and_a_folder_without_rights_do_no_harm(shards: ClassificationData, tmp_path: Path) -> None:
    first = read_classification_data(shards, 10)
    for index in (tmp_path / "shards" / "indices").iterdir():
        index.write_bytes(b'[["a"')
    assert read_classification_data(shards, 10).fingerprint == first.fingerprint
    (tmp_path / "file").write_bytes(b"")
    nowhere = shards.model_copy(update={"index_folder": str(tmp_path / "file" / "indices")})
    assert read_classification_data(nowhere, 10).fingerprint == first.fingerprint


@pytest.mark.parametrize(
    "row",
    [
        {"offsets": [10**12]},
        {"offsets": [-1]},
        {"sizes": [10**12]},
        {"sizes": [-3]},
        {"labels": [-1]},
        {"labels": [1, 2]},
        {"name_lengths": [8]},
        {"name_lengths": [-7]},
    ],
)
def test_an_index_that_leads_elsewhere_is_made_again(tmp_path: Path, row: dict[str, list[int]]) -> None:
    path = one_shard(tmp_path, ("dog.jpg", b"dog"), ("dog.cls", b"4"))
    assert read_one(path) == [("one.tar/dog.jpg", 4)]
    (index,) = (tmp_path / "indices").iterdir()
    arrays = {name: np.array(row.get(name, found)) for name, found in read_arrays(index).arrays.items()}
    write_arrays(index, {}, arrays)
    assert read_one(path) == [("one.tar/dog.jpg", 4)]


def test_shards_in_a_folder_of_their_own(small_digits: Path, tmp_path: Path) -> None:
    data = as_shards(small_digits, tmp_path / "shards")
    for split in ("train", "test"):
        os.mkdir(tmp_path / "shards" / split)
        for shard in (tmp_path / "shards").glob(f"{split}-*.tar"):
            shard.rename(tmp_path / "shards" / split / shard.name)
    sets = read_classification_data(data.model_copy(update={"train_split": "train", "test_split": "test"}), 10)
    assert (len(sets.train.labels), len(sets.test.labels)) == (40, 20)
    assert sets.test.source.name(0) == "test/test-000000.tar/sample00000.png"


@special_files
def test_what_is_no_ordinary_file_is_no_shard(tmp_path: Path, kind: str) -> None:
    words = put(tmp_path / "one.tar", kind)
    with never_waiting(), pytest.raises(UserError, match=rf"one.tar \({words}\)\n  rule:   a tar file that exists"):
        read_one(tmp_path / "one.tar")
