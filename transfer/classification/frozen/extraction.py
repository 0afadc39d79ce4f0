"""Features of a frozen encoder: computed once for each image, kept on disk, shared by protocols, seeds and draws."""

from __future__ import annotations

import contextlib
import hashlib
import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks import ranks
from benchmarks.engine.device import device_name
from benchmarks.engine.evaluation import Running, Walk
from benchmarks.engine.processes.exchange import gathered
from benchmarks.engine.samples.images import Batch, ImageSamples, Sample, collate
from benchmarks.engine.samples.loaders import SampleKey
from benchmarks.engine.samples.unreadable import Unreadable
from benchmarks.errors import WorkFailed
from benchmarks.runs.environment import versions
from benchmarks.runs.probes import FeatureUse
from transfer.adapter import Transfer
from transfer.classification.augment import test_samples
from transfer.classification.frozen.image_keys import image_keys
from transfer.classification.frozen.shelf import Column, Shelf, default_folder, evict
from transfer.encoder.encoder_plan import EncoderPlan
from transfer.encoder.features import Feature, FrozenEncoder, Summary
from transfer.images.labelled import LabelledImages

EVERYTHING_BYTES = 2**30
"""Up to so many bytes, all summaries of the encoder are computed in the pass that any of them needs, patches included
or else without them; and up to so many, vectors are held in memory."""
FILE_BYTES = 2**26
"""Vectors are written as soon as there are so many bytes of them: what is stopped goes on from there."""
PATIENCE_S = 600.0
"""How long a run of several processes waits for another run's features; one alone waits for as long as it takes."""
PACKAGES = ("torch", "torchvision", "timm", "pillow")


class Stored:
    """The features of labelled images, whose vectors are read from disk when they are asked for."""

    def __init__(self, images: LabelledImages, keys: Sequence[bytes], columns: dict[Summary, Column]) -> None:
        whole = set.intersection(*(set(column.places) for column in columns.values()))
        self.images, self._keys, self._columns = images, keys, columns
        self.positions = [position for position, key in enumerate(keys) if key in whole]
        """The positions of the images that could be read."""
        self.missing = [position for position, key in enumerate(keys) if key not in whole]

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def labels(self) -> Tensor:
        """The classes [N] of the images that could be read."""
        return torch.tensor([self.images.labels[position] for position in self.positions], dtype=torch.int64)

    def vectors(self, summaries: Sequence[Summary], positions: Sequence[int] | None = None) -> Tensor:
        """Return the summaries of images, joined: [N, D] of all that could be read, or of those at `positions`."""
        keys = [self._keys[position] for position in (self.positions if positions is None else positions)]
        return torch.cat([self._columns[summary].rows(keys) for summary in summaries], dim=1)


class StoredSamples:
    """Vectors of images in the place of the images, for a training or for an evaluation."""

    collate = staticmethod(collate)

    def __init__(self, stored: Stored, summaries: Sequence[Summary], unreadable: Unreadable, *, replace: bool) -> None:
        """With `replace`, the next image that could be read stands in for one that could not; without, none does."""
        self._stored, self._unreadable, self._replace = stored, unreadable, replace
        self._row = {position: row for row, position in enumerate(stored.positions)}
        self._summaries = summaries
        first = stored.vectors(summaries, stored.positions[:1])
        self._blank = torch.zeros_like(first[0])
        small = len(stored) * first.nbytes <= EVERYTHING_BYTES
        self._vectors = stored.vectors(summaries) if small else None  # else each is read when it is its turn

    def __len__(self) -> int:
        return len(self._stored.images)

    def __getitem__(self, key: SampleKey) -> tuple[int, Sample]:
        position, images, failed = key.position, self._stored.images, []
        while position not in self._row:
            failed += self._unreadable.of(images.source.where(position))
            if not self._replace:
                return key.position, Sample(None, 0, tuple(failed))
            position = (position + 1) % len(self)
        if self._vectors is None:
            vector = self._stored.vectors(self._summaries, [position])[0]
        else:
            vector = self._vectors[self._row[position]]
        return key.position, Sample(vector, images.labels[position], tuple(failed))

    @property
    def blank(self) -> Batch:
        """A batch of one image without content."""
        return collate([(0, Sample(self._blank, 0, ()))])


class FeatureStore:
    """Gives the features of images by one frozen encoder: those that are kept, and the others computed."""

    def __init__(
        self,
        transfer: Transfer,
        plan: EncoderPlan,
        encoder: FrozenEncoder,
        device: torch.device,
        running: Running,
        unreadable: Unreadable,
        model: nn.Module | None = None,
        samples: Callable[[LabelledImages], ImageSamples] | None = None,
    ) -> None:
        """The encoder is whole by now, and may be divided later; `running` says how it is run over images.

        `model` is what is called with images and summaries, where that is not the encoder itself. `samples` says how
        images are made for the encoder, where that is not as the test images of classification are.
        """
        self._model = encoder if model is None else model
        self._samples = samples or partial(test_samples, recipe=transfer.work.config, plan=plan)
        self.recipe, self.source, self.plan, self.encoder = transfer.work.config, transfer.source, plan, encoder
        self.device, self.running, self.unreadable = device, running, unreadable
        kept = self.recipe.features
        self.root = Path(kept.folder) if kept.folder is not None else default_folder()
        self._weights, self._began = _digest(encoder.backbone), time.time_ns()
        self._more = [
            self._sized(encoder.every_summary() + encoder.every_patch()),
            self._sized(encoder.every_summary()),
        ]
        self.use = FeatureUse()
        """How many images were run through the encoder, and of how many the features were kept."""

    def of(self, images: LabelledImages, features: Sequence[Feature], title: str) -> Stored:
        """Return the stored features of images; called on every rank. `title` says what images they are.

        Raises what `summaries_of` raises.
        """
        wanted = {each for feature in features for each in self.encoder.summaries(feature)}
        return self.summaries_of(images, sorted(wanted), title)

    def summaries_of(self, images: LabelledImages, wanted: Sequence[Summary], title: str) -> Stored:
        """Return the stored summaries of images; called on every rank. `title` says what images they are.

        Raises WorkFailed where too many images cannot be read, or where ranks do not share the folder.
        """
        shelf = Shelf(self.root, self._made_of(images))
        keys = image_keys(images.source)
        alone = ranks.world_size() == 1
        with shelf.locked(math.inf if alone else PATIENCE_S) if ranks.is_main() else contextlib.nullcontext():
            stored = _read(shelf, images, keys, wanted)
            missing = gathered(stored.missing)[0]  # the main rank's, which holds the lock
            done = self._compute(shelf, images.select(missing), [keys[at] for at in missing], wanted, title)
        if missing:
            stored = _read(shelf, images, keys, wanted)
        if len(stored.missing) > len(missing) - done:
            rule = "that all processes of a run share: features.folder=FOLDER"
            raise WorkFailed(f"rank {ranks.rank()} lacks features that another computed\n  remedy: a folder {rule}")
        if not stored.positions:
            raise WorkFailed(f"none of the {len(keys)} {title} could be read")
        self._conclude(len(keys) - len(missing), done, title)
        return stored

    def samples(
        self, images: LabelledImages, joined: Sequence[Summary], title: str, *, replace: bool = False
    ) -> StoredSamples:
        """Return the summaries of images as samples, each all of them `joined`; one may be there several times."""
        stored = self.summaries_of(images, sorted(set(joined)), title)
        return StoredSamples(stored, joined, self.unreadable, replace=replace)

    def _conclude(self, reused: int, computed: int, title: str) -> None:
        """Remove what is beyond the limit, and say what was done."""
        if not ranks.is_main():
            return
        evict(self.root, self.recipe.features.limit_gb * 1e9, newer_than=self._began)
        self.use = FeatureUse(computed=self.use.computed + computed, reused=self.use.reused + reused)
        words = f"{reused:,} kept, {computed:,} computed" if computed else f"{reused:,} kept, none computed again"
        print(f"features of {title}: {words} ({self.root})", flush=True)

    def _sized(self, summaries: Sequence[Summary]) -> tuple[int, Sequence[Summary]]:
        """Return how many bytes summaries take of each image, and the summaries."""
        return 4 * sum(map(self.encoder.summary_width, summaries)), summaries

    def _made_of(self, images: LabelledImages) -> dict[str, object]:
        """Return all that a vector depends on beside the image's own bytes."""
        code, device = self.source.use.code, f"cpu {torch.backends.cpu.get_cpu_capability()}"
        return {
            "version": 1,
            "weights": self._weights,
            "architecture": self.plan.architecture.identity_digest(),
            "code": None if code is None else code.source_sha256,
            "image_size_px": self.recipe.image_size_px,
            "transform": repr(self._samples(images).transform),
            "precision": self.running.precision,
            "device": device if self.device.type == "cpu" else device_name(self.device),
            "packages": versions(PACKAGES),
        }

    def _compute(
        self, shelf: Shelf, images: LabelledImages, keys: Sequence[bytes], wanted: Sequence[Summary], title: str
    ) -> int:
        """Compute and write the vectors of images; return of how many that was possible, on all ranks."""
        if not keys:
            return 0
        for each, more in self._more:
            if len(keys) * each <= EVERYTHING_BYTES:
                wanted = sorted({*wanted, *more})
                break
        samples = self._samples(images)
        walk = Walk(self._model, samples, self.device, self.running, self.unreadable, bar=title, all_may_fail=True)
        waiting = _Waiting(shelf, [summary.name for summary in wanted])
        for positions, vectors in walk.each(lambda batch: (batch.positions, self._vectors(batch, wanted))):
            waiting.add([keys[at] for at in positions.tolist()], vectors)
        waiting.write()
        return sum(gathered(waiting.done))

    def _vectors(self, batch: Batch, wanted: Sequence[Summary]) -> list[Tensor]:
        return [vector.float().cpu() for vector in self._model(batch.images, wanted)]


class _Waiting:
    """Vectors that are written as soon as there are enough of them for a file."""

    def __init__(self, shelf: Shelf, names: Sequence[str]) -> None:
        self._shelf, self._names = shelf, names
        self._keys: list[bytes] = []
        self._parts: list[list[Tensor]] = []
        self.done = 0

    def add(self, keys: Sequence[bytes], vectors: list[Tensor]) -> None:
        self._keys += keys
        self._parts.append(vectors)
        self.done += len(keys)
        if len(self._keys) * max(vector.shape[1] for vector in vectors) * 4 >= FILE_BYTES:
            self.write()

    def write(self) -> None:
        if self._keys:
            columns = [torch.cat(parts) for parts in zip(*self._parts, strict=True)]
            self._shelf.write(dict(zip(self._names, columns, strict=True)), self._keys)
        self._keys, self._parts = [], []


def _read(shelf: Shelf, images: LabelledImages, keys: Sequence[bytes], wanted: Sequence[Summary]) -> Stored:
    return Stored(images, keys, {summary: shelf.column(summary.name).read() for summary in wanted})


def _digest(model: nn.Module) -> str:
    """Return the sha256 (hex) of a model's weights as they are run, resized ones included."""
    total = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        total.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return total.hexdigest()
