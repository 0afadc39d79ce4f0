"""A part of the training images: which ones, and that neither order nor form decides."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.config import load_recipe
from benchmarks.errors import UserError
from benchmarks.subset import Subset
from tests.transfer.images.forms import as_folders, as_shards
from transfer.classification.recipe import FinetuneRecipe
from transfer.images.labelled import ClassificationSets
from transfer.images.read import read_classification_data
from transfer.images.recipe import ClassificationData


def read(data: ClassificationData, **subset: object) -> ClassificationSets:
    return read_classification_data(data.model_copy(update={"subset": Subset(**subset)}), 10)  # type: ignore[arg-type]


def chosen(sets: ClassificationSets) -> list[str]:
    return [sets.train.source.name(position) for position in range(len(sets.train.labels))]


@pytest.fixture
def folders(small_digits: Path, tmp_path: Path) -> ClassificationData:
    return as_folders(small_digits, tmp_path / "folders")


def test_the_rule_that_the_documentation_states(folders: ClassificationData) -> None:
    root = Path(str(folders.root))
    expected = []
    for digit in range(10):
        names = [path.relative_to(root).as_posix() for path in (root / "train" / str(digit)).iterdir()]
        expected += sorted(names, key=lambda name: hashlib.sha256(f"5/{name}".encode()).hexdigest())[:3]
    sets = read(folders, per_class=3, seed=5)
    assert chosen(sets) == sorted(expected)
    assert [sets.train.source.name(i).split("/")[1] for i in range(30)] == [str(label) for label in sets.train.labels]


def test_a_larger_draw_holds_the_smaller_one_and_another_seed_draws_others(folders: ClassificationData) -> None:
    one, two = (set(chosen(read(folders, per_class=count))) for count in (1, 2))
    assert one < two
    assert set(chosen(read(folders, per_class=2, seed=1))) != two


@pytest.mark.parametrize("text", [None, "n01440764_10026.JPEG\n"])
def test_an_official_list_is_that_of_its_authors(folders: ClassificationData, text: str | None) -> None:
    if text is not None:
        Path(str(folders.root), "1percent.txt").write_text(text)
    with pytest.raises(UserError) as caught:
        read(folders, list="simclr_1percent")
    assert "1percent.txt below" in str(caught.value)
    assert "github.com/google-research/simclr" in str(caught.value)


@pytest.mark.parametrize(("fraction", "per_class"), [(0.25, 1), (0.5, 2), (0.375, 2), (0.6, 2), (0.9, 4)])
def test_a_fraction_is_of_each_class_and_rounds_half_up(
    folders: ClassificationData, fraction: float, per_class: int
) -> None:
    labels = read(folders, fraction=fraction).train.labels
    assert Counter(labels) == dict.fromkeys(range(10), per_class)


def test_shards_are_cut_by_the_same_rule(small_digits: Path, tmp_path: Path) -> None:
    sets = read(as_shards(small_digits, tmp_path / "shards"), per_class=1)
    assert list(sets.train.labels) == list(range(10))
    assert len(sets.test.labels) == 20
    with sets.train.source.open(4) as stream:
        assert stream.read() in [path.read_bytes() for path in (small_digits / "train" / "4").iterdir()]


def test_a_list_of_file_names(folders: ClassificationData, tmp_path: Path) -> None:
    files = [sorted((Path(str(folders.root)) / "train" / str(digit)).iterdir())[digit % 4] for digit in range(10)]
    lines = [path.name if digit % 2 else f"{digit}/{path.name}" for digit, path in enumerate(files)]
    listed = tmp_path / "1percent.txt"
    listed.write_text("\n".join(reversed(lines)))
    sets = read(folders, list=str(listed))
    assert chosen(sets) == [f"train/{digit}/{path.name}" for digit, path in enumerate(files)]
    assert sets.fingerprint.parts["subset list"] == hashlib.sha256(listed.read_bytes()).hexdigest()
    copy = tmp_path / "elsewhere.txt"
    copy.write_bytes(listed.read_bytes())
    assert read(folders, list=str(copy)).fingerprint == sets.fingerprint


@pytest.mark.parametrize(
    ("subset", "words"),
    [
        ({"per_class": 5}, r"data.subset.per_class = 5\n.*at most all 4 of class 0 \(it asks for 5\)"),
        ({"fraction": 0.1}, r"data.subset.fraction = 0.1\n.*of class 0 \(it asks for 0\)"),
        ({"list": "nowhere.txt"}, r"data.subset.list = nowhere.txt\n  rule:   a file below"),
    ],
)
def test_what_cannot_be_drawn(folders: ClassificationData, subset: dict[str, object], words: str) -> None:
    with pytest.raises(UserError, match=words):
        read(folders, **subset)


def test_lines_that_are_no_image_or_more_than_one(folders: ClassificationData, tmp_path: Path) -> None:
    root, listed = Path(str(folders.root)), tmp_path / "list.txt"
    for line, words in (("nothing.png", "this one fits none"), ("same.png", "this one fits 2")):
        for digit in (3, 4):
            (root / "train" / str(digit) / "same.png").write_bytes(b"x")
        listed.write_text(f"\n{line}\n")
        with pytest.raises(UserError, match=rf"list.txt:2: {line}\n.*{words}"):
            read(folders, list=str(listed))
    listed.write_text("3/same.png\ntrain/3/same.png\n")
    with pytest.raises(UserError, match=r"train/3/same.png twice"):
        read(folders, list=str(listed))
    listed.write_text("3/same.png\n")
    with pytest.raises(UserError, match="no image of 0, 1, 2, 4"):
        read(folders, list=str(listed))


def test_one_rule_at_a_time() -> None:
    for overrides in (["data.subset={}"], ["data.subset.per_class=2", "data.subset.fraction=0.5"]):
        with pytest.raises(UserError, match=r"one of subset.fraction, subset.per_class and subset.list"):
            load_recipe(FinetuneRecipe, "transfer", "digits_finetune", overrides)


def test_the_draw_is_in_the_digest_and_the_place_of_the_list_is_not() -> None:
    digests = [
        ClassificationData(subset=subset).identity_digest()
        for subset in (None, Subset(per_class=2), Subset(per_class=2, seed=1), Subset(list="a"), Subset(list="b"))
    ]
    assert len(set(digests[:4])) == 4
    assert digests[3] == digests[4]
