"""The same images in every form give the same tensors and labels, alone and through loader processes."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

import mimbench
from benchmarks.engine.samples.images import ImageSamples
from benchmarks.engine.samples.loaders import evaluation_loader
from tests.support.runs import numbers_of, only_run, record_of
from tests.transfer.images.forms import FORMS, as_flat_list, as_folders, as_shards, scans
from transfer.images.labelled import LabelledImages
from transfer.images.read import read_classification_data

TENSOR = v2.Compose([v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True)])


def loaded(images: LabelledImages, workers: int) -> tuple[Tensor, Tensor]:
    """Return all images [N, 3, H, W] and labels [N], as a test of a model would see them."""
    samples = ImageSamples(images.source, images.labels, TENSOR, replace=False)
    batches = list(evaluation_loader(samples, 8, workers, pin=False))
    assert [text for batch in batches for text in batch.unreadable] == []
    return torch.cat([batch.images for batch in batches]), torch.cat([batch.labels for batch in batches])


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_what_torchvision_reads_from_folders(small_digits: Path, tmp_path: Path, form: str) -> None:
    data = FORMS[form](small_digits, tmp_path / form)
    sets = read_classification_data(data, 10)
    assert sets.classes == tuple("0123456789")
    for split, images in (("train", sets.train), ("test", sets.test)):
        theirs = ImageFolder(str(small_digits / split), transform=TENSOR)
        tensors, labels = loaded(images, workers=0)
        assert labels.tolist() == theirs.targets
        assert tensors.equal(torch.stack([image for image, _ in theirs]))
    names = [
        images.source.name(position) for images in (sets.train, sets.test) for position in range(len(images.labels))
    ]
    assert len(set(names)) == 60
    assert not any(str(tmp_path) in name for name in names)


@pytest.mark.parametrize("form", FORMS)
def test_loader_processes_read_the_same(small_digits: Path, tmp_path: Path, form: str) -> None:
    train = read_classification_data(FORMS[form](small_digits, tmp_path / form), 10).train
    (alone, _), (helped, _) = loaded(train, workers=0), loaded(train, workers=2)
    assert helped.equal(alone)
    copy = pickle.loads(pickle.dumps(train.source))  # noqa: S301 (what a spawned process gets)
    with copy.open(3) as theirs, train.source.open(3) as ours:
        assert theirs.read() == ours.read()


@pytest.mark.parametrize("form", FORMS)
def test_the_fingerprint_does_not_depend_on_the_place(small_digits: Path, tmp_path: Path, form: str) -> None:
    data = FORMS[form](small_digits, tmp_path / form)
    first = read_classification_data(data, 10).fingerprint
    (tmp_path / form).rename(tmp_path / "moved")
    moved = data.model_copy(update={"root": str(tmp_path / "moved"), "index_folder": None})
    second = read_classification_data(moved, 10).fingerprint
    assert (second, second.images) == (first, 60)


def test_other_labels_of_the_same_images_are_other_data(small_digits: Path, tmp_path: Path) -> None:
    data = as_flat_list(small_digits, tmp_path / "flat")
    before = read_classification_data(data, 10).fingerprint
    file = tmp_path / "flat" / "train.txt"
    file.write_text(file.read_text().replace("00001.png 0", "00001.png 1"))
    after = read_classification_data(data, 10).fingerprint
    assert after.sha256 != before.sha256
    assert after.parts["test labels"] == before.parts["test labels"]
    assert after.parts["train labels"] != before.parts["train labels"]


def test_how_data_is_stored_is_not_in_the_digest_and_how_it_is_cut_is(small_digits: Path, tmp_path: Path) -> None:
    folders, flat = as_folders(small_digits, tmp_path / "a"), as_flat_list(small_digits, tmp_path / "b")
    assert folders.identity_digest() == flat.identity_digest()
    elsewhere = folders.model_copy(update={"format": "folders", "classes": "names.txt", "label_column": "fine"})
    assert elsewhere.identity_digest() == folders.identity_digest()
    assert folders.model_copy(update={"test_split": "val"}).identity_digest() != folders.identity_digest()


def test_a_run_on_shards_trains_to_the_numbers_of_the_run_on_folders(
    transfer_command: list[str], small_digits: Path, tmp_path: Path
) -> None:
    data = as_shards(small_digits, tmp_path / "shards")
    command = [*transfer_command, "--encoder", "random:digits_swin", "training.epochs=2"]
    assert mimbench.main([*command, "--runs", str(tmp_path / "folders")]) == 0
    stored = [f"data.{field}={getattr(data, field)}" for field in ("root", "train_split", "test_split", "index_folder")]
    assert mimbench.main([*command, *stored, "--runs", str(tmp_path / "from_shards")]) == 0
    one, other = only_run(tmp_path / "folders"), only_run(tmp_path / "from_shards")
    assert numbers_of(other) == numbers_of(one)
    assert set(record_of(other).data.parts) == {"train labels", "test labels"}
    first = (other / "predictions.csv").read_text().splitlines()[1]
    assert first.startswith("test-000000.tar/sample00000.png,0,")


@pytest.mark.parametrize("form", ["webdataset", "huggingface"])
def test_an_unreadable_image_is_named_by_where_it_lies(small_digits: Path, tmp_path: Path, form: str) -> None:
    scans(small_digits, "train")[8][0].write_bytes(b"no image at all")
    train = read_classification_data(FORMS[form](small_digits, tmp_path / form), 10).train
    samples = ImageSamples(train.source, train.labels, TENSOR, replace=False)
    found = [text for batch in evaluation_loader(samples, 8, 0, pin=False) for text in batch.unreadable]
    place = {"webdataset": "train-000001.tar/sample00008.png", "huggingface": "train, row 8"}[form]
    assert found == [f"{tmp_path}/{form}/{place}: UnidentifiedImageError: no image format"]
