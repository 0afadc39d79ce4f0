"""The loss on images that were held out: the same images under the same masks, whenever and wherever it is measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

from benchmarks.engine.device import autocast
from benchmarks.engine.processes import exchange as distributed
from benchmarks.engine.samples.images import ImageSamples, Sample
from benchmarks.engine.samples.loaders import SampleKey, evaluation_loader
from benchmarks.engine.samples.unreadable import Unreadable
from benchmarks.engine.seeding import generator
from benchmarks.errors import WorkFailed
from benchmarks.image_source import ImageSource
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
        """A batch of one that counts for nothing."""
        recipe, side = self._recipe, self._recipe.image_size_px
        images = torch.zeros(1, recipe.encoder.in_chans, side, side)
        return MaskedBatch(images, torch.ones(1, side // self._patch, side // self._patch, dtype=torch.bool), [])

    @staticmethod
    def collate(samples: list[MaskedSample]) -> MaskedBatch:
        good = [(each.sample.image, each.hidden) for each in samples if each.sample.image is not None]
        return MaskedBatch(
            images=torch.stack([image for image, _ in good]) if good else torch.empty(0),
            hidden=torch.stack([hidden for _, hidden in good]) if good else torch.empty(0),
            unreadable=[text for each in samples for text in each.sample.unreadable],
        )


@dataclass
class HeldOut:
    """Images that are not trained on."""

    samples: MaskedSamples
    unreadable: Unreadable

    def loss(self, method: Method, recipe: PretrainRecipe, device: torch.device) -> float:
        """Return the mean loss over the images, on every rank; dropped paths and the like are off.

        Raises WorkFailed when too many of them are unreadable.
        """
        training = recipe.training
        loader = evaluation_loader(self.samples, training.batch_size, training.workers, device.type == "cuda")
        method.model.eval()
        total = torch.zeros(2, dtype=torch.float64)
        with torch.no_grad(), autocast(device, training):
            for batch in loader.padded(MaskedBatch(torch.empty(0), torch.empty(0), [])):
                self.unreadable.note(batch.unreadable)
                ours = (batch if len(batch.images) else self.samples.blank).to(device)
                loss = method.loss(ours.images, ours.hidden)
                total += torch.tensor([loss.double().item() * len(batch.images), len(batch.images)])
        for names in distributed.gathered(list(self.unreadable.names)):
            self.unreadable.note(names)
        summed = distributed.mean(total)
        if not summed[1]:
            raise WorkFailed(
                "none of the held-out images could be read\n  remedy: mend or remove the files named above"
            )
        return float(summed[0] / summed[1])
