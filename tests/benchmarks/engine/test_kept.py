"""Small pictures are decoded once by all processes of a training: the same pixels, within a bound of memory."""

from __future__ import annotations

import os
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from benchmarks.data.image_source import ImageFiles
from benchmarks.engine.samples import kept
from benchmarks.engine.samples.images import ImageSamples
from benchmarks.engine.samples.kept import HEADER, KeptPictures
from benchmarks.engine.samples.loaders import SampleKey, StepBatches, training_loader

TRANSFORM = v2.Compose([v2.RandomCrop(24), v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True)])


@dataclass(frozen=True)
class Counted(ImageFiles):
    """Files that note in a file of their own, which all processes share, that they were opened."""

    def open(self, position: int) -> BinaryIO:
        with open(self.root / "opened", "a") as note:
            note.write(f"{position}\n")
        return super().open(position)


def opened(folder: Path) -> list[str]:
    return (folder / "opened").read_text().split()


@pytest.fixture
def files(small_digits: Path, tmp_path: Path) -> Counted:
    return Counted(tmp_path, sorted((small_digits / "unlabelled").iterdir()))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_training_opens_a_small_picture_once_and_its_samples_are_the_same(files: Counted, channels: int) -> None:
    samples = ImageSamples(files, None, TRANSFORM, channels=channels, seed=3)
    for epoch in range(3):
        for position in range(len(files)):
            fresh = ImageSamples(ImageFiles(files.root, files.files), None, TRANSFORM, channels=channels, seed=3)
            found, expected = (each[SampleKey(position, epoch)][1].image for each in (samples, fresh))
            assert found is not None
            assert expected is not None
            assert found.equal(expected)
    assert opened(files.root) == [str(position) for position in range(len(files))]


def test_workers_read_what_their_siblings_have_decoded(files: Counted) -> None:
    """Of 60 epochs of two workers, which read each file hundreds of times without it."""
    samples = ImageSamples(files, None, TRANSFORM, seed=3)
    steps = 60 * (len(files) // 12)
    for _ in training_loader(samples, StepBatches(len(files), 12, steps, 0, seed=3), 2, pin=False):
        pass
    assert len(opened(files.root)) <= 2 * len(files)  # both may decode a picture at the same time
    assert {samples.read(position)[0].size for position in range(len(files))} == {(32, 32)}
    assert len(opened(files.root)) <= 2 * len(files)  # nor does the process that forked them


def test_what_is_only_measured_is_not_kept(files: Counted) -> None:
    samples = ImageSamples(files, None, TRANSFORM, replace=False)
    assert [samples.read(0)[0].size for _ in range(3)] == [(32, 32)] * 3
    assert opened(files.root) == ["0"] * 3


def test_pictures_larger_than_their_part_are_read_again(files: Counted, monkeypatch: pytest.MonkeyPatch) -> None:
    part = HEADER.size + 32 * 32 * 3
    for most, times in ((len(files) * part, 1), (len(files) * part - 1, 2), (0, 2)):
        monkeypatch.setattr(kept, "MOST_BYTES", most)
        samples = ImageSamples(files, None, TRANSFORM, seed=3)
        (files.root / "opened").write_text("")
        assert samples.read(0)[0].tobytes() == samples.read(0)[0].tobytes()
        assert opened(files.root) == ["0"] * times, most


def resident() -> int:
    """Return the bytes of shared memory that this process has touched."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition("RssShmem:")[2].split()[0])


def test_memory_is_taken_for_what_is_written_alone() -> None:
    before = resident()
    memory = KeptPictures(1000, "RGB")
    assert resident() - before < 2**16
    for position in range(1000):
        memory.keep(position, Image.new("RGB", (16, 16)))
    assert resident() - before < 1000 * 2 * os.sysconf("SC_PAGE_SIZE")


def test_a_picture_that_another_process_has_half_written_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "MOST_BYTES", 2**12)
    memory = KeptPictures(2, "L")
    picture = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8))
    memory.keep(1, picture)
    assert memory.find(0) is None
    found = memory.find(1)
    assert found is not None
    assert found.tobytes() == picture.tobytes()
    assert memory._memory is not None
    memory._memory[2**11 + HEADER.size + 63] ^= 1
    assert memory.find(1) is None


def test_what_is_done_to_a_found_picture_stays_with_it() -> None:
    memory = KeptPictures(1, "L")
    memory.keep(0, Image.new("L", (4, 4), 7))
    for _ in range(2):
        found = memory.find(0)
        assert found is not None
        assert found.getpixel((0, 0)) == 7
        found.putpixel((0, 0), 0)


def test_a_process_that_is_not_forked_begins_with_nothing() -> None:
    memory = KeptPictures(1, "L")
    memory.keep(0, Image.new("L", (4, 4)))
    other = pickle.loads(pickle.dumps(memory))  # noqa: S301 (our own)
    assert other.find(0) is None
    other.keep(0, Image.new("L", (5, 5)))
    assert [found.size for found in (memory.find(0), other.find(0)) if found] == [(4, 4), (5, 5)]
