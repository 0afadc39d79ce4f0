"""What the protocols share that train nothing through an encoder: its features of all images, and a run's record."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch

from benchmarks.engine.device import choose_device
from benchmarks.engine.flops import forward_flops
from benchmarks.engine.processes.exchange import joined
from benchmarks.engine.processes.parallel import divide
from benchmarks.engine.samples.images import ImageSamples
from benchmarks.engine.samples.unreadable import Unreadable
from benchmarks.engine.watch.stop import StopRequest
from benchmarks.runs.folder import Run
from benchmarks.runs.record import LoadReport
from transfer.adapter import Transfer
from transfer.classification.frozen.extraction import FeatureStore, Stored
from transfer.encoder.encoder_plan import EncoderPlan
from transfer.encoder.features import OUTPUT, Feature, FrozenEncoder, Summary, blocks_of, every_layer
from transfer.encoder.model import build_model, on_meta
from transfer.encoder.sizes import Pooling
from transfer.images.labelled import LabelledImages
from transfer.run import open_transfer
from transfer.sources.source import Source


class FrozenRun:
    """A run that needs nothing of its images but their features by one frozen encoder."""

    def __init__(self, transfer: Transfer, encoder: FrozenEncoder, store: FeatureStore, run: Run) -> None:
        self.transfer, self.recipe, self.data = transfer, transfer.work.config, transfer.data
        self.encoder, self.store, self.run = encoder, store, run
        self.device, self.unreadable = store.device, store.unreadable

    def tests(self, features: Sequence[Feature]) -> list[Stored]:
        """Return the features of the test images, then those of the further test sets."""
        further = [(f"test set {name}", one.images) for name, one in self.data.test_sets.items()]
        named = [("test images", self.data.test), *further]
        return [self.store.of(images, features, title) for title, images in named]

    def vectors(self, stored: Stored, pooling: Pooling) -> torch.Tensor:
        """Return the features [N, D] of the images that could be read, on the device."""
        return stored.vectors(self.encoder.summaries(Feature((OUTPUT,), pooling))).to(self.device)

    def complete(self, pooling: Pooling, **fields: Any) -> None:
        """Complete the record with the pooled feature, how features were come by, and `fields`."""
        self.complete_with(self.encoder.in_words(Feature((OUTPUT,), pooling)), **fields)

    def complete_with(self, feature: str, **fields: Any) -> None:
        """Complete the record with the feature in words, how features were come by, and `fields`."""
        unreadable = tuple(self.unreadable.names)
        self.run.complete(
            feature=feature,
            features=self.store.use,
            data=self.run.record.data.model_copy(update={"unreadable": unreadable}),
            **fields,
        )


def pooled(recipe: Any, encoder: FrozenEncoder) -> list[Summary]:
    """Return the summaries of a recipe's feature. Raises UserError for an encoder that has no such pooling."""
    for pooling in (recipe.pooling, *getattr(recipe, "other_pooling", ())):
        encoder.width(Feature((OUTPUT,), pooling))
    return encoder.summaries(Feature((OUTPUT,), recipe.pooling))


class Built(NamedTuple):
    """A frozen encoder on its device, the proof of what was loaded into it, and the plan that it was built by."""

    encoder: FrozenEncoder
    report: LoadReport
    plan: EncoderPlan


def built(transfer: Transfer, device: torch.device) -> Built:
    """Build the encoder of a transfer, every layer of which may give features."""
    backbone, report, plan = build_model(transfer.work.config, transfer.source, transfer.work.seed)
    side, channels = transfer.work.config.image_size_px, plan.architecture.in_chans
    return Built(FrozenEncoder(backbone.to(device), every_layer(backbone), side, channels), report, plan)


def would_load(
    recipe: Any, source: Source, taken: Callable[[Any, FrozenEncoder], Sequence[Summary]] = pooled
) -> LoadReport:
    """Return what a run would load. Raises the UserErrors by which a run would refuse the encoder."""
    loaded = on_meta(lambda: build_model(recipe, source, 0))
    if loaded.report.complete or source.read is None:
        backbone, channels = loaded.model.to("meta", torch.float32), loaded.plan.architecture.in_chans
        on_meta(lambda: taken(recipe, FrozenEncoder(backbone, every_layer(backbone), recipe.image_size_px, channels)))
    return loaded.report


@contextlib.contextmanager
def opened(
    transfer: Transfer,
    taken: Callable[[Any, FrozenEncoder], Sequence[Summary]] = pooled,
    samples: Callable[[Any, EncoderPlan, LabelledImages], ImageSamples] | None = None,
) -> Iterator[FrozenRun]:
    """Open the run of a recipe with `inference` and `features`; its encoder is built and proven.

    `taken` returns what the run takes of the encoder, which is refused before anything is read where it cannot be had;
    `samples` makes images for it of recipe and plan, where that is not done as in classification.
    """
    recipe = transfer.work.config
    with joined():
        device = choose_device(recipe.inference)
        encoder, report, plan = built(transfer, device)
        side, channels = recipe.image_size_px, plan.architecture.in_chans
        summaries, image = taken(recipe, encoder), torch.zeros(1, channels, side, side, device=device)
        flops = forward_flops(encoder, lambda: encoder.summarised(image, summaries))
        unreadable, made = (
            Unreadable(recipe.data.max_unreadable),
            None if samples is None else partial(samples, recipe, plan),
        )
        store = FeatureStore(transfer, plan, encoder, device, recipe.inference, unreadable, samples=made)
        if recipe.inference.sharded:
            divide(encoder, blocks_of(encoder.backbone), device)
        with open_transfer(transfer, device, report, flops) as run, StopRequest():
            yield FrozenRun(transfer, encoder, store, run)
