"""A model run over a test set: every rank takes its share, and each sample is taken once."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import torch
from torch import nn
from torch.distributed import is_initialized

from benchmarks import ranks
from benchmarks.engine.device import Compute, autocast
from benchmarks.engine.processes.exchange import gathered, share_buffers
from benchmarks.engine.samples.loaders import AnyBatch, EvaluationSamples, evaluation_loader
from benchmarks.engine.samples.unreadable import Unreadable
from benchmarks.errors import WorkFailed
from benchmarks.text.progress import EvaluationLines, ProgressReport

B = TypeVar("B", bound=AnyBatch)
R = TypeVar("R")

SHOWN = 20


class Running(Compute, Protocol):
    """The part of a recipe that says how a model is run over samples: its `training` or `inference`."""

    @property
    def evaluated_at_once(self) -> int: ...
    @property
    def workers(self) -> int: ...
    @property
    def sharded(self) -> bool: ...


@dataclass(frozen=True)
class Walk(Generic[B]):
    """A walk over a test set. It stops after a stop request, and the model is left in evaluation mode."""

    model: nn.Module
    """The model, on its device; every rank gets the main one's buffers."""
    samples: EvaluationSamples[B]
    """The test set; each of its samples is either in its batch or named there as unreadable."""
    device: torch.device
    running: Running
    unreadable: Unreadable
    """Collects, on every rank, the files that any rank could not read."""
    one_by_one: EvaluationLines | None = None
    """If given, every rank takes one sample at a time, rather than the recipe's batches; these lines show progress."""
    bar: str | None = None
    """The title of a progress bar for this walk, if it has one."""
    all_may_fail: bool = False
    """Whether the walk goes over a part of the samples, of which it may be that none can be read."""

    def _batches(self) -> Iterator[tuple[B, bool]]:
        """Yield this rank's batches on the device, and whether they count: all but a blank one.

        A blank one stands in where a rank lacks a batch and the model is divided, which has to run equally often on
        every rank; else a batch of which nothing could be read is not among them. Afterwards every rank raises
        WorkFailed when too many files were unreadable, or all of them.
        """
        share_buffers(self.model)
        self.model.eval()
        world_size = ranks.world_size()
        size = self.running.evaluated_at_once if self.one_by_one is None else world_size
        blank = self.samples.blank if self.running.sharded and world_size > 1 else None
        loader = evaluation_loader(self.samples, size, self.running.workers, self.device.type == "cuda")
        left, failed = len(range(ranks.rank(), len(self.samples), world_size)), []
        with self._progress(len(loader)) as show:
            for done, batch in enumerate(loader if blank is None else loader.padded(blank), start=1):
                failed += batch.unreadable
                asked = min(left, max(1, size // world_size))
                left -= asked
                counts = batch is not blank and len(batch.unreadable) < asked
                wanted = batch if counts else blank
                if wanted is not None:
                    yield wanted.to(self.device), counts
                show(done)
        self._note([name for names in gathered(failed) for name in names])

    @contextlib.contextmanager
    def _progress(self, batches: int) -> Iterator[Callable[[int], None]]:
        if self.bar is not None:
            with ProgressReport(self.bar, batches, "batch") as bar:
                yield bar.show
        else:
            yield (lambda _: None) if self.one_by_one is None else self.one_by_one.show

    def _note(self, failed: list[str]) -> None:
        self.unreadable.note(failed)
        if len(failed) == len(self.samples) and not self.all_may_fail:
            raise WorkFailed("nothing of the test set could be read:\n    " + "\n    ".join(failed[:SHOWN]))

    def each(self, step: Callable[[B], R]) -> Iterator[R]:
        """Yield what `step` makes of this rank's batches, without gradients and in the recipe's precision.

        `step` is run on blank batches too, and may keep nothing of them: what it returns for them is dropped.
        """
        for batch, counts in self._batches():
            with self._without_gradients(), autocast(self.device, self.running):
                found = step(batch)
            if counts:
                yield found

    def _without_gradients(self) -> contextlib.AbstractContextManager[None]:
        """Return torch's inference mode, but for a divided model: FSDP2 trains on with the tensors that it gathered."""
        divided = self.running.sharded and is_initialized()
        return torch.no_grad() if divided else torch.inference_mode()

    def results(self, step: Callable[[B], R]) -> list[R]:
        """Return what `step` makes of all ranks' batches: those of the first rank, then those of the second."""
        return [result for results in gathered(list(self.each(step))) for result in results]
