"""The batches of a training by step, of an evaluation in order; each rank loads its own share."""

from __future__ import annotations

import atexit
import os
import signal
import weakref
from collections.abc import Callable, Generator, Iterable, Iterator
from itertools import chain, repeat
from typing import Any, Generic, NamedTuple, Protocol, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Sampler

from benchmarks import ranks
from benchmarks.engine.processes import exchange as distributed
from benchmarks.engine.seeding import generator
from benchmarks.engine.watch.stop import Interrupted, StopRequest
from benchmarks.errors import UserError
from benchmarks.training.training import require_full_batch

AGREE_EVERY = 8
"""After how many batches of an evaluation the ranks ask each other whether to stop."""


class SampleKey(NamedTuple):
    """Which sample, in which epoch: together with the seed this fixes the augmentation.

    Where an epoch draws an image several times, `epoch` counts these draws, from epoch to epoch.
    """

    position: int
    epoch: int


class AnyBatch(Protocol):
    """What the loop needs of a batch."""

    @property
    def unreadable(self) -> list[str]:
        """Files that could not be read on the way to this batch, as `path: error`."""
        ...

    def to(self, device: torch.device) -> Self: ...


B = TypeVar("B", bound=AnyBatch)
B_co = TypeVar("B_co", bound=AnyBatch, covariant=True)


class Samples(Protocol[B_co]):
    """A data set whose samples depend on their key and its seed alone."""

    @property
    def collate(self) -> Callable[[list[Any]], B_co]: ...
    def __len__(self) -> int: ...
    def __getitem__(self, key: SampleKey) -> Any: ...


class EvaluationSamples(Samples[B_co], Protocol[B_co]):
    """A data set that is only measured."""

    @property
    def blank(self) -> B_co:
        """A batch that costs what others cost; it stands in for those that a rank lacks."""
        ...


class StepBatches(Sampler[list[SampleKey]]):
    """This rank's part of the batches of steps `start` to `total`, each in so many equal `parts`.

    Every epoch is a fresh shuffle, and the ragged rest is dropped. A rank takes its own run of each global batch, so
    that the number of processes changes nothing of what a step is trained on.
    """

    def __init__(
        self,
        images: int,
        batch_size: int,
        total_steps: int,
        start_step: int,
        seed: int,
        parts: int = 1,
        repeats: int = 1,
    ) -> None:
        """With `repeats`, every image of the shuffle is drawn so often in a row, until the epoch is full."""
        self.images, self.batch_size, self.seed, self.repeats = images, batch_size, seed, repeats
        self.start, self.total, self.per_epoch = start_step, total_steps, steps_per_epoch(images, batch_size, parts)
        self.parts, self.share = parts, ranks.share(batch_size)

    def __len__(self) -> int:
        return (self.total - self.start) * self.parts

    def __iter__(self) -> Iterator[list[SampleKey]]:
        for epoch in range(self.start // self.per_epoch, -(-self.total // self.per_epoch)):
            # As an array: a list of 14 million numbers takes 0.5 GB, of which every worker would get a copy.
            order = torch.randperm(self.images, generator=generator(self.seed, "order", epoch)).numpy()
            first = max(self.start - epoch * self.per_epoch, 0)
            for step in range(first, min(self.per_epoch, self.total - epoch * self.per_epoch)):
                places = range(step * self.batch_size, (step + 1) * self.batch_size)[self.share]
                size = len(places) // self.parts
                for part in range(self.parts):
                    yield [self._key(order, place, epoch) for place in places[part * size : (part + 1) * size]]

    def _key(self, order: NDArray[np.int64], place: int, epoch: int) -> SampleKey:
        image, draw = divmod(place, self.repeats)
        return SampleKey(int(order[image]), epoch * self.repeats + draw)


def steps_per_epoch(images: int, batch_size: int, parts: int = 1) -> int:
    """Return the number of full batches.

    Raises UserError when there is not one, or when ranks, each in so many parts, cannot share it.
    """
    require_full_batch(images, batch_size)
    if batch_size % ranks.world_size():
        rule = f"a multiple of the number of processes ({ranks.world_size()})"
        raise UserError.about("training.batch_size", batch_size, rule, "change one of the two")
    if batch_size % (ranks.world_size() * parts):
        rule = f"a divisor of each process's images per step ({batch_size // ranks.world_size()})"
        raise UserError.about("training.accumulate", parts, rule, "change one of the two")
    return images // batch_size


def training_loader(samples: Samples[B_co], batches: StepBatches, workers: int, pin: bool) -> Loader[B_co]:
    """Return a loader over the rest of a training; it leaves the global random state alone."""
    return _loader(samples, batches, workers, pin)


class EvaluationLoader(Generic[B]):
    """Yields every sample of this rank's share once, in order. After a stop request, every rank raises Interrupted."""

    def __init__(self, batches: Loader[B], most: int) -> None:
        """`most`: how many batches the rank with the most has."""
        self._batches, self._most = batches, most

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[B]:
        return self._until_stopped(self._batches)

    def padded(self, blank: B) -> Iterator[B]:
        """Yield as many batches on every rank, `blank` where one has no more: a divided model needs all of them."""
        return self._until_stopped(chain(self._batches, repeat(blank, self._most - len(self))))

    def _until_stopped(self, batches: Iterable[B]) -> Iterator[B]:
        done = 0
        with StopRequest.entered() as stop:
            for done, batch in enumerate(batches, start=1):
                yield batch
                self._agree_to_go_on(done, stop)
            for number in range(done + 1, self._most + 1):  # those who have no more are asked too
                self._agree_to_go_on(number, stop)

    def _agree_to_go_on(self, done: int, stop: StopRequest) -> None:
        alone = ranks.world_size() == 1
        if (alone or done % AGREE_EVERY == 0) and (number := distributed.any_rank(stop.number)):
            raise Interrupted(signal.Signals(number).name)


def evaluation_loader(samples: Samples[B], batch_size: int, workers: int, pin: bool) -> EvaluationLoader[B]:
    """Return a loader for what is measured. `batch_size` is over all ranks."""
    world_size = ranks.world_size()
    keys = [SampleKey(position, 0) for position in range(ranks.rank(), len(samples), world_size)]
    size = max(1, batch_size // world_size)
    batches = [keys[first : first + size] for first in range(0, len(keys), size)]
    most = -(-len(range(0, len(samples), world_size)) // size)
    return EvaluationLoader(_loader(samples, batches, workers, pin), most)


def _loader(samples: Samples[B_co], batches: object, workers: int, pin: bool) -> Loader[B_co]:
    """Return a loader of `workers` processes, or fewer: no more than this rank's share of the cores that it may use."""
    cores = max(1, len(os.sched_getaffinity(0)) // ranks.local_size())
    return Loader(
        samples,  # type: ignore[arg-type]
        batch_sampler=batches,  # type: ignore[arg-type]
        num_workers=min(workers, cores),
        collate_fn=samples.collate,
        pin_memory=pin,
        worker_init_fn=_leave_signals_to_the_parent,
        generator=torch.Generator(),
    )


class Loader(DataLoader[B_co]):
    """A loader whose workers end with its batches.

    Left to Python, they may never: they hear no SIGTERM, and where an error keeps the batches until garbage is
    collected, the queue through which torch asks workers to end is gone before it asks.
    """

    def __iter__(self) -> Generator[B_co]:  # type: ignore[override]  # torch names a class of its own
        batches: Any = super().__iter__()
        _WORKERS.update(getattr(batches, "_workers", ()))
        try:
            yield from batches
        finally:
            if self.num_workers:
                batches._shutdown_workers()


_WORKERS = weakref.WeakSet[Any]()
"""The processes of all loaders, as far as anything knows them."""


def _end_workers() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's raises an error where a worker is killed
    for worker in list(_WORKERS):
        if worker.is_alive():
            worker.kill()


atexit.register(_end_workers)  # before multiprocessing waits for them, which registered itself when it was imported


def _leave_signals_to_the_parent(_: int) -> None:
    """Workers must outlive Ctrl-C and Slurm's signals until the training process has saved its state."""
    torch.set_num_threads(1)
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2):
        signal.signal(name, signal.SIG_IGN)
