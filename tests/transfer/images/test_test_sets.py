"""Further test sets: ImageNet-V2's folders of numbers, ImageNet-ReaL's several labels, folders with fewer classes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from benchmarks.config import load_recipe
from benchmarks.errors import UserError
from tests.transfer.images.forms import as_shards, scans
from transfer.classification.recipe import FinetuneRecipe
from transfer.images.labelled import ClassificationSets
from transfer.images.read import read_classification_data
from transfer.images.recipe import ClassificationData, TestImages

CLASSES = 12
"""More than ten, so that alphabetical and numerical order of folders differ."""


@pytest.fixture
def wnids(small_digits: Path, tmp_path: Path) -> ClassificationData:
    """Twelve classes called by wnids; test images named as ILSVRC names its validation images, inside class folders."""
    root, number = tmp_path / "data", 0
    for label in range(CLASSES):
        wnid = f"n{label:08d}"
        shutil.copytree(small_digits / "train" / str(label % 10), root / "train" / wnid)
        (root / "val" / wnid).mkdir(parents=True)
        for path in sorted((small_digits / "test" / str(label % 10)).iterdir()):
            number += 1
            shutil.copy(path, root / "val" / wnid / f"ILSVRC2012_val_{(number * 7) % 25:08d}.JPEG")
    return ClassificationData(root=str(root))


def read(data: ClassificationData, **test_sets: TestImages) -> ClassificationSets:
    return read_classification_data(data.model_copy(update={"test_sets": test_sets}), None)


def numbered_folders(to: Path, digits: Path, labels: range) -> Path:
    """Write one image per class into folders called 0, 1, ..., 10, 11: the layout of ImageNet-V2."""
    for label in labels:
        (to / str(label)).mkdir(parents=True)
        shutil.copy(scans(digits, "test")[label][0], to / str(label) / f"of_class_{label}.jpeg")
    return to


def test_folders_called_by_numbers_count_the_classes(
    wnids: ClassificationData, small_digits: Path, tmp_path: Path
) -> None:
    root = numbered_folders(tmp_path / "v2", small_digits, range(CLASSES))
    v2 = read(wnids, v2=TestImages(root=str(root))).test_sets["v2"]
    names = [v2.images.source.name(position) for position in range(CLASSES)]
    assert names[:4] == [f"{n}/of_class_{n}.jpeg" for n in (0, 1, 10, 11)], "on disk the order is alphabetical"
    assert [f"{label}/of_class_{label}.jpeg" for label in v2.images.labels] == names
    assert (v2.name, v2.accepted, v2.images.classes) == ("v2", None, tuple(f"n{n:08d}" for n in range(CLASSES)))


def test_a_further_test_set_may_show_fewer_classes_but_no_others(
    wnids: ClassificationData, small_digits: Path, tmp_path: Path
) -> None:
    root = tmp_path / "sketch"
    shutil.copytree(small_digits / "test" / "3", root / "n00000003")
    shutil.copytree(small_digits / "test" / "1", root / "n00000011")
    sketch = read(wnids, sketch=TestImages(root=str(root))).test_sets["sketch"]
    assert sketch.images.labels == [3, 3, 11, 11]
    (root / "n00000011").rename(root / "n00000012")
    with pytest.raises(UserError, match=r"classes = n00000012 in .*sketch"):
        read(wnids, sketch=TestImages(root=str(root)))
    other = numbered_folders(tmp_path / "other", small_digits, range(CLASSES + 1))
    with pytest.raises(UserError, match=r"classes = 0, 1, 10, .* in .*other"):
        read(wnids, other=TestImages(root=str(other)))


def test_a_further_test_set_in_another_form(wnids: ClassificationData, small_digits: Path, tmp_path: Path) -> None:
    shards = as_shards(small_digits, tmp_path / "shards")
    found = read(wnids, more=TestImages(root=shards.root, split=shards.test_split)).test_sets["more"]
    assert list(found.images.labels) == [label for _, label in scans(small_digits, "test")]


def test_real_labels_belong_to_images_by_number(wnids: ClassificationData) -> None:
    accepted = [[number % CLASSES, (number + 1) % CLASSES] if number % 4 else [] for number in range(1, 25)]
    real = Path(str(wnids.root)) / "real.json"
    real.write_text(json.dumps(accepted))
    sets = read(wnids, real=TestImages(accepted="real.json"))
    found = sets.test_sets["real"]
    assert found.accepted is not None
    assert len(sets.test.labels) == 24
    assert len(found.accepted) == len(found.images.labels) == 18
    for position, labels in enumerate(found.accepted):
        name = found.images.source.name(position)
        assert labels == set(accepted[int(name[-13:-5]) - 1])
        assert (
            sets.test.source.name(list(sets.test.labels).index(found.images.labels[position])).split("/")[1]
            == name.split("/")[1]
        )


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([[1]] * 23, r"val_00000024.JPEG\n  rule:   named ILSVRC2012_val_00000001 to 00000023"),
        ([[1]] * 23 + [[12]], r"accepted = 12 of image 24 in .*real.json\n  rule:   from 0 to 11"),
        ({"a": 1}, "a JSON list of lists"),
        ([1, 2], "a JSON list of lists"),
    ],
)
def test_a_wrong_real_json(wnids: ClassificationData, content: object, words: str) -> None:
    (Path(str(wnids.root)) / "real.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=words):
        read(wnids, real=TestImages(accepted="real.json"))


def test_they_are_part_of_the_fingerprint(wnids: ClassificationData, small_digits: Path, tmp_path: Path) -> None:
    root = numbered_folders(tmp_path / "v2", small_digits, range(CLASSES))
    without, with_it = read(wnids).fingerprint, read(wnids, v2=TestImages(root=str(root))).fingerprint
    for old, new in (("3", "swap"), ("4", "3"), ("swap", "4")):
        (root / old).rename(root / new)
    changed = read(wnids, v2=TestImages(root=str(root))).fingerprint
    assert len({without.sha256, with_it.sha256, changed.sha256}) == 3
    assert without.images == with_it.images == 72


def test_recipes_name_them() -> None:
    def digest(*overrides: str) -> str:
        return load_recipe(FinetuneRecipe, "transfer", "digits_finetune", overrides).config.identity_digest()

    assert digest("data.test_sets.v2.root=/a") == digest("data.test_sets.v2.root=/b") != digest()
    for override, words in (
        (
            "data.test_sets.v2.rot=/a",
            "data.test_sets.v2.rot = /a\n  rule:   no such field here\n  remedy: Did you mean root",
        ),
        ("data.test_sets.v2={}", "root or split .images of its own., or accepted"),
        ("data.test_sets={'a b': {root: x}}", "data.test_sets"),
    ):
        with pytest.raises(UserError, match=words):
            digest(override)
