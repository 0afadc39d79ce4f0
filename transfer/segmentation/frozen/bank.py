"""Patches of many images on disk, and the nearest of them to others; neither is ever whole in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from benchmarks.subset import Subset
from transfer.classification.frozen.extraction import Stored
from transfer.classification.knn import Neighbours, cosine_similarity
from transfer.encoder.features import OUTPUT, Summary
from transfer.segmentation.data import Pair
from transfer.segmentation.frozen.patches import Standardised, most_common
from transfer.segmentation.recipe import Distance

PATCHES = Summary(OUTPUT, "patches")
IMAGES = 64
"""How many images' patches are read from disk at once."""
VOTES = 1024
"""For how many patches the votes of all pixels are counted at once."""


@dataclass(frozen=True)
class Patches:
    """The patches of images: features, which are read when they are asked for, and the classes of their pixels."""

    stored: Stored
    pairs: list[Pair]
    """The images that can be used, with their masks."""
    positions: list[int]
    """Where these are among the stored ones."""
    labels: Tensor
    """The classes [images, patches, pixels of a patch]."""

    def features(self, rows: Sequence[int]) -> Iterator[Tensor]:
        """Yield the features [patches, D] of images, of some at a time, in order."""
        for first in range(0, len(rows), IMAGES):
            positions = [self.positions[row] for row in rows[first : first + IMAGES]]
            yield self.stored.vectors([PATCHES], positions).view(len(positions) * self.labels.shape[1], -1)

    def drawn(self, share: float) -> list[int]:
        """Return the rows of images that are drawn, by their names alone."""
        names = [self.stored.images.source.name(position) for position in self.positions]
        return list(Subset(fraction=share).draw(range(len(names)), names.__getitem__))


class Bank:
    """Patches of training images as neighbours: standardised features, and the classes of those that have one."""

    def __init__(
        self, train: Patches, rows: Sequence[int], scale: Standardised, outside: int, device: torch.device
    ) -> None:
        """Take the patches of some images whose most common class is one of the data set's."""
        self._train, self._rows, self._scale, self._device = train, rows, scale, device
        labels = train.labels[torch.tensor(rows)].flatten(0, 1)
        self._has_class = torch.cat([most_common(part) for part in torch.split(labels, VOTES)]) != outside
        self._labels = labels[self._has_class].to(device)

    def __len__(self) -> int:
        return len(self._labels)

    def nearest(self, others: Patches, rows: Sequence[int], count: int, distance: Distance) -> Tensor:
        """Return the numbers [patches, count] of the nearest patches to those of some images, the nearest first."""
        asked = [self._prepared(part, distance) for part in others.features(rows)]
        if not asked:
            return torch.zeros(0, count, dtype=torch.int64, device=self._device)
        similarity = cosine_similarity if distance == "cosine" else _closeness
        neighbours, first, number = Neighbours(torch.cat(asked), count, similarity), 0, 0
        for part in self._train.features(self._rows):
            kept = part[self._has_class[first : first + len(part)]]
            first += len(part)
            if len(kept):
                numbers = torch.arange(number, number + len(kept), device=self._device)
                neighbours.add(self._prepared(kept, distance), numbers)
                number += len(kept)
        return neighbours.labels

    def _prepared(self, features: Tensor, distance: Distance) -> Tensor:
        found = self._scale(features.to(self._device))
        return normalize(found, dim=1) if distance == "cosine" else found

    def voted(self, nearest: Tensor) -> Tensor:
        """Return for each patch the most common class of each of its pixels [patches, pixels] among its neighbours."""
        votes = [most_common(self._labels[nearest[at : at + VOTES]]).cpu() for at in range(0, len(nearest), VOTES)]
        return torch.cat(votes) if votes else self._labels.cpu()[:0]


def _closeness(features: Tensor, others: Tensor) -> Tensor:
    return -torch.cdist(features, others)
