"""Sampling: the same samples whatever the workers and wherever a training starts."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from benchmarks.engine.samples.images import Batch, ImageSamples, Sample
from benchmarks.engine.samples.loaders import (
    SampleKey,
    StepBatches,
    evaluation_loader,
    steps_per_epoch,
    training_loader,
)
from benchmarks.engine.watch.resources import resources_in_words
from benchmarks.errors import UserError, WorkFailed
from benchmarks.files.image_source import ImageFiles
from benchmarks.training import Cosine, Training
from tests.special_files import never_waiting, put, special_files

TRANSFORM = v2.Compose([v2.RandomCrop(24), v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True)])


def images(folder: Path) -> list[Path]:
    return sorted((folder / "unlabelled").iterdir())


def batches(files: list[Path], workers: int, start: int = 0) -> list[Batch]:
    samples = ImageSamples(ImageFiles(Path("/"), files), None, TRANSFORM, seed=3, patience=2)
    return list(training_loader(samples, StepBatches(len(files), 10, 11, start, seed=3), workers, pin=False))


def test_workers_do_not_change_the_samples(small_digits: Path) -> None:
    alone, helped = batches(images(small_digits), 0), batches(images(small_digits), 2)
    assert len(alone) == len(helped) == 11
    assert all(a.images.equal(b.images) and a.positions.equal(b.positions) for a, b in zip(alone, helped, strict=True))


@pytest.mark.parametrize("start", [1, 4, 7])
def test_a_training_continued_at_a_step_sees_the_same_samples(small_digits: Path, start: int) -> None:
    whole, rest = batches(images(small_digits), 0), batches(images(small_digits), 0, start)
    assert len(rest) == 11 - start
    assert all(a.images.equal(b.images) for a, b in zip(whole[start:], rest, strict=True))


def test_loading_leaves_the_global_random_state_alone(small_digits: Path) -> None:
    torch.manual_seed(7)
    before = torch.get_rng_state()
    batches(images(small_digits), 0)
    batches(images(small_digits), 2)
    assert torch.get_rng_state().equal(before)


def test_an_epoch_shows_no_image_twice_and_epochs_differ() -> None:
    order = [key.position for batch in StepBatches(48, 10, 8, 0, seed=0) for key in batch]
    first, second = order[:40], order[40:]
    assert len(set(first)) == len(set(second)) == 40
    assert first != second


def test_augmentation_changes_from_epoch_to_epoch(small_digits: Path) -> None:
    samples = ImageSamples(ImageFiles(small_digits, images(small_digits)), None, TRANSFORM, seed=0)
    shown = [samples[SampleKey(0, epoch)][1].image for epoch in range(8)]
    assert any(not image.equal(shown[0]) for image in shown[1:] if image is not None and shown[0] is not None)


def test_unreadable_images_are_named_and_replaced_in_training(small_digits: Path) -> None:
    files = images(small_digits)
    files[5].write_bytes(b"not an image")
    files[7].write_bytes(files[7].read_bytes()[:60])
    found = batches(files, 0)
    named = {text.split(":")[0] for batch in found for text in batch.unreadable}
    assert named == {str(files[5]), str(files[7])}
    assert all(len(batch.images) == 10 for batch in found)


def test_unreadable_images_are_left_out_of_a_test(small_digits: Path) -> None:
    files = images(small_digits)
    files[5].write_bytes(b"")
    samples = ImageSamples(ImageFiles(Path("/"), files), list(range(48)), TRANSFORM, replace=False)
    found = list(evaluation_loader(samples, 10, 0, pin=False))
    labels = torch.cat([batch.labels for batch in found]).tolist()
    assert labels == [label for label in range(48) if label != 5]
    assert [text.split(":")[0] for batch in found for text in batch.unreadable] == [str(files[5])]


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "1"])
def test_any_image_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "image.tif"
    Image.new(mode, (50, 60)).save(path)
    image = ImageSamples(ImageFiles(tmp_path, [path]), None, TRANSFORM)[SampleKey(0, 0)][1].image
    assert image is not None
    assert image.shape == (3, 24, 24)


def test_a_batch_larger_than_the_data_is_refused() -> None:
    with pytest.raises(UserError, match=r"training.batch_size = 64\n  rule:   at most the number of .* \(48\)"):
        steps_per_epoch(48, 64)


class Killed(ImageSamples):
    """Samples whose loader process is killed, as the kernel does when memory runs out."""

    def __getitem__(self, key: SampleKey) -> tuple[int, Sample]:
        os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(key)


def test_a_loader_process_that_is_killed_is_reported_in_words(small_digits: Path) -> None:
    samples = Killed(ImageFiles(small_digits, images(small_digits)), None, TRANSFORM)
    loader = training_loader(samples, StepBatches(48, 10, 4, 0, seed=0), 1, pin=False)
    schedule = Cosine(base_lr=1e-3, warmup_lr=0.0, min_lr=0.0, warmup_epochs=0)
    with (
        pytest.raises(WorkFailed, match="a loader process died: DataLoader worker"),
        resources_in_words(Training(epochs=1, batch_size=10, schedule=schedule)),
    ):
        list(loader)


@special_files
def test_what_is_no_ordinary_file_is_named_and_left_out(small_digits: Path, kind: str) -> None:
    files = images(small_digits)
    words = put(files[5], kind)
    samples = ImageSamples(ImageFiles(Path("/"), files), list(range(48)), TRANSFORM, replace=False)
    with never_waiting():
        found = list(evaluation_loader(samples, 10, 0, pin=False))
    assert [text for batch in found for text in batch.unreadable] == [f"{files[5]}: OSError: {words}"]
    assert sum(len(batch.images) for batch in found) == 47


def test_links_to_ordinary_files_are_images_wherever_these_lie(small_digits: Path, tmp_path: Path) -> None:
    files = images(small_digits)
    links = [tmp_path / f"{number}.png" for number in range(len(files))]
    for link, file in zip(links, files, strict=True):
        link.symlink_to(file)
    assert [batch.images.tolist() for batch in batches(links, 0)] == [
        batch.images.tolist() for batch in batches(files, 0)
    ]
