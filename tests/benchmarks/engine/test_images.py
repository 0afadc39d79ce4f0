"""Sampling: the same samples whatever the workers and wherever a training starts."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torchvision.transforms import v2

from benchmarks.data.image_source import ImageFiles
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
from benchmarks.training.schedules import Cosine
from benchmarks.training.training import Training
from tests.support.huge_pictures import huge_pictures, put_huge
from tests.support.special_files import never_waiting, put, special_files

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


class Named(ImageSamples):
    """Samples that say which process made them."""

    def __getitem__(self, key: SampleKey) -> tuple[int, Sample]:
        position, sample = super().__getitem__(key)
        return position, sample._replace(label=os.getpid())


@pytest.mark.parametrize(("cores", "ranks", "expected"), [(2, 1, 2), (1, 1, 1), (2, 2, 1), (1, 2, 1)])
@pytest.mark.filterwarnings("error")
def test_workers_start_once_and_are_no_more_than_a_ranks_cores(
    small_digits: Path, monkeypatch: pytest.MonkeyPatch, cores: int, ranks: int, expected: int
) -> None:
    """Eight are asked for, and torch itself warns of more than there are cores."""
    mine = os.sched_getaffinity(0)
    if len(mine) < cores:
        pytest.skip(f"this machine has {len(mine)} core")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(ranks))
    samples = Named(ImageFiles(small_digits, images(small_digits)), None, TRANSFORM, seed=3)
    batches = StepBatches(48, 10, 11, 0, seed=3)
    monkeypatch.setenv("WORLD_SIZE", str(ranks))
    try:
        os.sched_setaffinity(0, sorted(mine)[:cores])
        processes = {int(label) for batch in training_loader(samples, batches, 8, pin=False) for label in batch.labels}
    finally:
        os.sched_setaffinity(0, mine)
    assert len(processes) == expected, "over three epochs"
    assert os.getpid() not in processes


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


KEPT = """
import sys
from pathlib import Path
from tests.benchmarks.engine.test_images import *
root = Path(sys.argv[1])
samples = ImageSamples(ImageFiles(root, images(root)), None, TRANSFORM)
def fail():
    batches = iter(training_loader(samples, StepBatches(48, 10, 4, 0, seed=0), 2, pin=False))
    next(batches)
    raise ValueError("a bug")

try:
    fail()
except ValueError as error:
    kept = error  # and with it the batches, to which its traceback refers
"""


def test_a_process_ends_that_keeps_an_error_of_a_training(small_digits: Path) -> None:
    """Loader processes hear no signals; Python would wait for them without end."""
    command = [sys.executable, "-c", KEPT, str(small_digits)]
    assert subprocess.run(command, timeout=60, check=False).returncode == 0


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


@huge_pictures
def test_a_picture_of_too_many_pixels_is_named_and_left_out(small_digits: Path, kind: str) -> None:
    files = images(small_digits)
    words = put_huge(files[5], kind)
    assert files[5].stat().st_size < 200_000
    samples = ImageSamples(ImageFiles(Path("/"), files), list(range(48)), TRANSFORM, replace=False)
    found = list(evaluation_loader(samples, 10, 0, pin=False))
    assert [text for batch in found for text in batch.unreadable] == [f"{files[5]}: {words}"]
    assert sum(len(batch.images) for batch in found) == 47


def _icon(path: Path) -> None:
    Image.new("RGB", (64, 64)).save(path, "ICO")


def _postscript(path: Path) -> None:
    Image.new("RGB", (64, 64)).save(path, "EPS")


def _unfolding_text(path: Path) -> None:
    """200 MB of text in a chunk of 200 kB."""
    Image.new("RGB", (64, 64)).save(path, "PNG", pnginfo=text_of_png(bytes(200_000_000)))


def text_of_png(text: bytes) -> PngInfo:
    chunks = PngInfo()
    chunks.add(b"zTXt", b"comment\0\0" + zlib.compress(text, 9))
    return chunks


@pytest.mark.parametrize("write", [_icon, _postscript, _unfolding_text])
def test_a_file_under_an_images_name_starts_no_program_and_unfolds_to_no_gigabytes(
    small_digits: Path, write: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pillow gives PostScript to Ghostscript, and an icon holds pictures of other sizes than it states."""
    started: list[object] = []
    monkeypatch.setattr(subprocess, "Popen", lambda *command, **_: started.append(command))
    file = small_digits / "odd.png"
    written = io.BytesIO()
    write(written)  # type: ignore[arg-type]  # Pillow goes by the format, not by a name
    file.write_bytes(written.getvalue())
    samples = ImageSamples(ImageFiles(Path("/"), [file]), None, TRANSFORM, replace=False)
    (batch,) = evaluation_loader(samples, 10, 0, pin=False)
    assert len(batch.unreadable) == 1
    assert batch.unreadable[0].startswith(f"{file}: ")
    assert started == []


def _header(shape: tuple[int, ...], descr: str = "|u1") -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": descr, "fortran_order": False, "shape": shape})
    return file.getvalue()


def _zipped() -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, np.zeros((4, 4, 6)))
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (_header((100_000, 100_000, 6)), "TooManyPixels: 100000x100000 are 10,000,000,000 pixels"),
        (_header((-4, -4, 6)), "where [H, W, 6] belongs"),
        (_header((10**30, 1, 6)), "TooManyPixels"),
        (_header((4, 4, 6), "|V99999999"), "where numbers belong"),
        (_header((4, 4, 6), "<c16"), "where numbers belong"),
        (_zipped(), "ValueError"),
    ],
)
def test_an_array_that_states_too_much_is_named_before_memory_is_taken(
    tmp_path: Path, content: bytes, words: str
) -> None:
    file = tmp_path / "theirs.npy"
    file.write_bytes(content)
    samples = ImageSamples(ImageFiles(tmp_path, [file]), None, TRANSFORM, channels=6, replace=False)
    tracemalloc.start()
    (batch,) = evaluation_loader(samples, 10, 0, pin=False)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [words in text for text in batch.unreadable] == [True], batch.unreadable
    assert peak < 10 * 10**6
