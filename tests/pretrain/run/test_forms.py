"""Pretraining on shards, parquet and saved tables: the same images in any form, and the same training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import mimbench
from benchmarks.config import load_recipe
from benchmarks.data.image_source import ImageSource
from benchmarks.errors import UserError
from pretrain.recipe import PretrainRecipe
from pretrain.run.image_files import Images, find_images
from tests.support.libraries import library
from tests.support.runs import only_run, record_of
from tests.transfer.images.forms import add_member, as_huggingface, as_shards, scans

FORMS = ("webdataset", "saved", "parquet")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def stored(form: str, digits: Path, to: Path) -> tuple[Path, str]:
    """Write the labelled training scans in a form, in their order; return the root and the split."""
    if form == "webdataset":
        as_shards(digits, to)
        return to, "train-*.tar"
    as_huggingface(digits, to)
    if form == "saved":
        return to, "train"
    datasets: Any = library("datasets", "datasets")
    datasets.load_from_disk(str(to / "train")).to_parquet(str(to / "images" / "one.parquet"))
    return to, "images/*.parquet"


def found(root: Path, *overrides: str) -> Images:
    recipe = load_recipe(PretrainRecipe, "pretrain", "digits_simmim", ["validation=null", *overrides]).config
    return find_images(recipe, root)


def contents(source: ImageSource) -> list[bytes]:
    read = []
    for position in range(len(source)):
        with source.open(position) as stream:
            read.append(stream.read())
    return read


@pytest.mark.parametrize("form", FORMS)
def test_every_form_holds_the_same_images(small_digits: Path, tmp_path: Path, form: str) -> None:
    root, split = stored(form, small_digits, tmp_path / form)
    images = found(root, f"data.split={split}")
    assert contents(images.training) == [path.read_bytes() for path, _ in scans(small_digits, "train")]
    assert images.fingerprint.images == 40
    half = found(root, f"data.split={split}", "data.subset.fraction=0.5")
    quarter = found(root, f"data.split={split}", "data.subset.fraction=0.25")
    names = [{each.training.name(at) for at in range(len(each.training))} for each in (quarter, half, images)]
    assert [len(each) for each in names] == [10, 20, 40]
    assert names[0] < names[1] < names[2]
    share = found(root, f"data.split={split}", "validation={share: 0.25}")
    assert share.held_out is not None
    assert (len(share.training), len(share.held_out)) == (30, 10)
    assert set(contents(share.training)).isdisjoint(contents(share.held_out))


def test_shards_need_no_labels(tmp_path: Path, small_digits: Path) -> None:
    import tarfile

    (path, _), *_ = scans(small_digits, "train")
    with tarfile.open(tmp_path / "one.tar", "w") as tar:
        add_member(tar, "a.png", path.read_bytes())
        add_member(tar, "a.txt", b"a caption")
    images = found(tmp_path, "data.split=one.tar")
    assert contents(images.training) == [path.read_bytes()]
    assert images.training.name(0) == "one.tar/a.png"


def test_a_list_names_images_in_shards(small_digits: Path, tmp_path: Path) -> None:
    root, split = stored("webdataset", small_digits, tmp_path / "shards")
    whole = found(root, f"data.split={split}").training
    (root / "some.txt").write_text(f"{whole.name(7)}\n{whole.name(3)}\n")
    some = found(root, f"data.split={split}", "data.subset.list=some.txt")
    assert [some.training.name(at) for at in range(2)] == [whole.name(3), whole.name(7)]
    assert some.fingerprint.parts.keys() == {"subset list"}


def test_a_run_on_shards_trains_to_the_loss_of_the_run_on_files(
    pretrain_command: list[str], small_digits: Path, tmp_path: Path
) -> None:
    """The images are the same in the same order, so every number is."""
    root, split = stored("webdataset", small_digits, tmp_path / "shards")
    files = [*pretrain_command, "data.split=train", "validation=null"]
    shards = [*pretrain_command, f"data.root={root}", f"data.split={split}", "validation=null"]
    for name, command in (("files", files), ("shards", shards)):
        assert mimbench.main([*command, "--runs", str(tmp_path / name)]) == 0
    ours, theirs = (record_of(only_run(tmp_path / name)) for name in ("files", "shards"))
    assert ours.exported_sha256 == theirs.exported_sha256
    assert ours.data.fingerprint != theirs.data.fingerprint


def test_a_place_elsewhere_or_without_images_is_refused(small_digits: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data split = \.\./x\n  rule:   below data.root"):
        found(small_digits, "data.split=../x")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="at least one image"):
        found(tmp_path, "data.split=empty")
    with pytest.raises(UserError, match=r"at least one \.tar file"):
        found(tmp_path, "data.split=empty", "data.format=webdataset")
