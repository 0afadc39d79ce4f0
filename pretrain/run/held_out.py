"""The loss on images that were held out: the same images under the same masks, whenever and wherever it is measured."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

from benchmarks.data.image_source import ImageSource
from benchmarks.engine.evaluation import Walk
from benchmarks.engine.samples.images import ImageSamples, Sample
from benchmarks.engine.samples.loaders import SampleKey
from benchmarks.engine.seeding import generator
from pretrain.method.simmim import Method
from pretrain.recipe import PretrainRecipe
from pretrain.run.crops import centred


class MaskedSample(NamedTuple):
    """An image and its mask [h, w] bool on the encoder's patches."""

    sample: Sample
    hidden: Tensor


class MaskedBatch(NamedTuple):
    """Images [B, C, S, S] and their masks [B, h, w]; names of unreadable files, which are in neither."""

    images: Tensor
    hidden: Tensor
    unreadable: list[str]

    def to(self, device: torch.device) -> MaskedBatch:
        images, hidden = (tensor.to(device, non_blocking=True) for tensor in (self.images, self.hidden))
        return self._replace(images=images, hidden=hidden)


class MaskedSamples(Dataset[MaskedSample]):
    """Images in the middle of the frame, each under a mask that its position alone decides."""

    def __init__(self, recipe: PretrainRecipe, source: ImageSource, patch_size_px: int) -> None:
        self._recipe, self._patch = recipe, patch_size_px
        transform = centred(recipe.data, recipe.image_size_px)
        self._images = ImageSamples(source, None, transform, channels=recipe.encoder.in_chans, replace=False)

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, key: SampleKey) -> MaskedSample:
        recipe, (_, sample) = self._recipe, self._images[key]
        random = generator(0, "held-out mask", key.position)
        return MaskedSample(sample, recipe.masking.sample(1, recipe.image_size_px, self._patch, random)[0])

    @property
    def blank(self) -> MaskedBatch:
        """A batch of one image that does not count."""
        recipe, side = self._recipe, self._recipe.image_size_px
        images = torch.zeros(1, recipe.encoder.in_chans, side, side)
        hidden = torch.ones(1, side // self._patch, side // self._patch, dtype=torch.bool)
        return MaskedBatch(images, hidden, [])

    @staticmethod
    def collate(samples: list[MaskedSample]) -> MaskedBatch:
        good = [(each.sample.image, each.hidden) for each in samples if each.sample.image is not None]
        return MaskedBatch(
            images=torch.stack([image for image, _ in good]) if good else torch.empty(0),
            hidden=torch.stack([hidden for _, hidden in good]) if good else torch.empty(0),
            unreadable=[text for each in samples for text in each.sample.unreadable],
        )


def held_out_loss(method: Method, walk: Walk[MaskedBatch]) -> float:
    """Return the mean loss over the images of a walk, on every rank, with the model in evaluation mode."""

    def measure(batch: MaskedBatch) -> tuple[float, int]:
        images = len(batch.images)
        loss = method.loss(batch.images, batch.hidden).double().item() * images
        # Rounded, as the first version did: a run that it began keeps its numbers to the last digit.
        return torch.tensor(loss, dtype=torch.float32).item(), images

    losses, images = zip(*walk.results(measure), strict=True)
    return float(sum(losses) / sum(images))
