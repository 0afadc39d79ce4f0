"""Pretraining on a part of a data set: which images, that they are in the fingerprint, and what is refused."""

from __future__ import annotations

import hashlib
from itertools import pairwise
from pathlib import Path

import pytest

import mimbench
from benchmarks.config import load_recipe
from benchmarks.errors import UserError
from benchmarks.subset import Subset
from pretrain.recipe import PretrainRecipe
from pretrain.run.image_files import Images, find_images
from tests.support.runs import only_run, record_of
from transfer.images.read import read_classification_data
from transfer.images.recipe import ClassificationData


def files(root: Path, *overrides: str) -> Images:
    recipe = load_recipe(PretrainRecipe, "pretrain", "digits_simmim", ["validation=null", *overrides]).config
    return find_images(recipe, root)


@pytest.mark.parametrize("subset", [Subset(fraction=0.5), Subset(per_class=1), Subset(fraction=0.5, seed=3)])
def test_a_transfer_with_the_same_subset_trains_on_the_same_images(small_digits: Path, subset: Subset) -> None:
    data = ClassificationData(root=str(small_digits), test_split="test", subset=subset)
    labelled = set(read_classification_data(data, 10).train.source.files)
    found = files(small_digits, "data.split=train", f"data.subset={subset.model_dump_json(exclude_none=True)}")
    assert len(labelled) in (10, 20)
    assert set(found.training.files) == labelled


def test_a_larger_share_holds_every_image_of_a_smaller_one(small_digits: Path) -> None:
    """48 images side by side in one folder: 10 % of them are 4.8, which is 5."""
    shares = [files(small_digits, f"data.subset.fraction={share}") for share in (0.1, 0.2, 0.5)]
    assert [len(found.training) for found in shares] == [5, 10, 24]
    assert all(set(small.training.files) < set(large.training.files) for small, large in pairwise(shares))
    assert len({str(found.fingerprint) for found in [*shares, files(small_digits)]}) == 4


def test_what_is_held_out_is_the_same_for_every_share(small_digits: Path) -> None:
    held_out = "validation={share: 0.25}"
    whole = files(small_digits, held_out)
    half = files(small_digits, held_out, "data.subset.fraction=0.5")
    assert half.held_out is not None
    assert whole.held_out is not None
    assert list(half.held_out.files) == list(whole.held_out.files)
    assert len(half.training) == 18
    assert set(half.training.files) < set(whole.training.files)


def test_listed_images_are_trained_on_and_the_list_is_in_the_record(
    pretrain_command: list[str], small_digits: Path, tmp_path: Path
) -> None:
    names = sorted(path.name for path in (small_digits / "unlabelled").iterdir())[:16]
    listed = small_digits / "some.txt"
    listed.write_text("\n".join(names))
    command = [*pretrain_command, "data.subset.list=some.txt", "validation=null", "--runs", str(tmp_path / "runs")]
    assert mimbench.main(command) == 0
    data = record_of(only_run(tmp_path / "runs")).data
    assert data.images == 16
    assert data.parts["subset list"] == hashlib.sha256(listed.read_bytes()).hexdigest()


def test_a_folder_may_be_left_without_images_but_not_all_of_them(small_digits: Path) -> None:
    """Four images in each of ten folders: a tenth of four is none."""
    with pytest.raises(UserError, match=r"data.subset.fraction = 0.1\n.*at least one image .* \(it asks for 0\)"):
        files(small_digits, "data.split=train", "data.subset.fraction=0.1")
    for name in range(1, 10):
        for file in sorted((small_digits / "train" / str(name)).iterdir())[1:]:
            file.rename(small_digits / "train" / "0" / f"{name}-{file.name}")
    found = files(small_digits, "data.split=train", "data.subset.fraction=0.1")
    assert {path.parent.name for path in found.training.files} == {"0"}
    assert len(found.training) == 3, "a tenth of 31"


@pytest.mark.parametrize(
    ("subset", "words"),
    [
        ("{per_class: 49}", r"data.subset.per_class = 49\n.*at most all 48 of folder .*\(it asks for 49\)"),
        ("{list: nowhere.txt}", r"data.subset.list = nowhere.txt\n  rule:   a file below"),
        ("{fraction: 0.5, per_class: 2}", "one of subset.fraction, subset.per_class and subset.list"),
    ],
)
def test_what_cannot_be_drawn(small_digits: Path, subset: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        files(small_digits, f"data.subset={subset}")


def test_a_recipe_without_a_subset_has_the_digest_it_had_before_there_were_any() -> None:
    recipes = [
        load_recipe(PretrainRecipe, "pretrain", "digits_simmim", overrides).config
        for overrides in ([], ["data.subset=null"], ["data.subset.fraction=0.5"])
    ]
    assert "subset" not in recipes[0].identity()["data"]
    assert recipes[0].identity_digest() == recipes[1].identity_digest() != recipes[2].identity_digest()
