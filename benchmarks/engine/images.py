"""Image files as samples: seeded transforms, and unreadable files named and replaced instead of fatal."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from benchmarks.engine.seeding import derive, generator, seeded
from benchmarks.errors import UserError

Transform = Callable[[Image.Image], Tensor]
MODES = {1: "L", 3: "RGB"}


class SampleKey(NamedTuple):
    """Which image, in which epoch: together with the seed this fixes the augmentation."""

    position: int
    epoch: int


class Sample(NamedTuple):
    """One image [C, H, W] float, its class (0 without labels), and the files that failed on the way to it."""

    image: Tensor | None
    label: int
    unreadable: tuple[str, ...]


class Batch(NamedTuple):
    """Images [B, C, H, W] float, labels [B] int64, names of unreadable files met, positions [B] of the samples."""

    images: Tensor
    labels: Tensor
    unreadable: list[str]
    positions: Tensor


class ImageSamples(Dataset[tuple[int, Sample]]):
    """Images of a list of files. With `replace`, an unreadable file gives the next readable one; without, no image."""

    def __init__(
        self,
        files: Sequence[Path],
        labels: Sequence[int] | None,
        transform: Transform,
        *,
        channels: int = 3,
        seed: int = 0,
        replace: bool = True,
        patience: int = 0,
    ) -> None:
        """`patience`: how many unreadable files in a row are skipped before a blank image is returned."""
        self.files, self.labels, self.transform = list(files), labels, transform
        self.mode, self.seed, self.replace, self.patience = MODES[channels], seed, replace, patience

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, key: SampleKey) -> tuple[int, Sample]:
        with seeded(derive(self.seed, "sample", *key)):
            return key.position, self._sample(key.position)

    def _sample(self, first: int) -> Sample:
        failed: list[str] = []
        for candidate in range(first, first + self.patience + 1):
            position = candidate % len(self.files)
            path = self.files[position]
            label = self.labels[position] if self.labels is not None else 0
            try:
                image = self._open(path)
            except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
                failed.append(f"{path}: {type(error).__name__}: {error}")
            else:
                return Sample(self.transform(image), label, tuple(failed))
            if not self.replace:
                return Sample(None, label, tuple(failed))
        # The loop stops the run when it counts these files; until then the batch needs an image.
        return Sample(self.transform(Image.new(self.mode, (64, 64))), 0, tuple(failed))

    def _open(self, path: Path) -> Image.Image:
        with Image.open(path) as image:
            return image.convert(self.mode)


def collate(samples: list[tuple[int, Sample]]) -> Batch:
    """Stack samples; those without an image are dropped and their files named."""
    good = [(position, sample.image, sample.label) for position, sample in samples if sample.image is not None]
    return Batch(
        images=torch.stack([image for _, image, _ in good]) if good else torch.empty(0),
        labels=torch.tensor([label for _, _, label in good], dtype=torch.int64),
        unreadable=[text for _, sample in samples for text in sample.unreadable],
        positions=torch.tensor([position for position, _, _ in good], dtype=torch.int64),
    )


class StepBatches(Sampler[list[SampleKey]]):
    """The batches of steps `start` to `total`: every epoch is a fresh shuffle, and the ragged rest is dropped."""

    def __init__(self, images: int, batch_size: int, total_steps: int, start_step: int, seed: int) -> None:
        self.images, self.batch_size, self.seed = images, batch_size, seed
        self.start, self.total, self.per_epoch = start_step, total_steps, steps_per_epoch(images, batch_size)

    def __len__(self) -> int:
        return self.total - self.start

    def __iter__(self) -> Iterator[list[SampleKey]]:
        for epoch in range(self.start // self.per_epoch, -(-self.total // self.per_epoch)):
            order = torch.randperm(self.images, generator=generator(self.seed, "order", epoch)).tolist()
            first = max(self.start - epoch * self.per_epoch, 0)
            for step in range(first, min(self.per_epoch, self.total - epoch * self.per_epoch)):
                rows = order[step * self.batch_size : (step + 1) * self.batch_size]
                yield [SampleKey(row, epoch) for row in rows]


def steps_per_epoch(images: int, batch_size: int) -> int:
    """Return the number of full batches. Raises UserError when there is not one."""
    if images < batch_size:
        rule = f"at most the number of training images ({images})"
        raise UserError.about("training.batch_size", batch_size, rule, f"set training.batch_size={images} or less")
    return images // batch_size


def training_loader(samples: ImageSamples, batches: StepBatches, workers: int, pin: bool) -> DataLoader[Batch]:
    """Return a loader over the rest of a training; it leaves the global random state alone."""
    return _loader(samples, batches, workers, pin)


def evaluation_loader(samples: ImageSamples, batch_size: int, workers: int, pin: bool) -> DataLoader[Batch]:
    """Return a loader that yields every sample once, in order."""
    keys = [SampleKey(position, 0) for position in range(len(samples))]
    batches = [keys[first : first + batch_size] for first in range(0, len(keys), batch_size)]
    return _loader(samples, batches, workers, pin)


def _loader(samples: ImageSamples, batches: object, workers: int, pin: bool) -> DataLoader[Batch]:
    return DataLoader(
        samples,  # type: ignore[arg-type]
        batch_sampler=batches,  # type: ignore[arg-type]
        num_workers=workers,
        collate_fn=collate,
        pin_memory=pin,
        worker_init_fn=_leave_signals_to_the_parent,
        generator=torch.Generator(),
    )


def _leave_signals_to_the_parent(_: int) -> None:
    """Workers must outlive Ctrl-C and Slurm's signals until the training process has saved its state."""
    import signal

    torch.set_num_threads(1)
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2):
        signal.signal(name, signal.SIG_IGN)
