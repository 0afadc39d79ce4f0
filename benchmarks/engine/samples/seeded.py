"""A data set whose every sample is read and changed under a seed of its own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Generic, TypeVar

from torch.utils.data import Dataset

from benchmarks.engine.samples.loaders import SampleKey
from benchmarks.engine.samples.unreadable import next_usable
from benchmarks.engine.seeding import derive, seeded

Item = TypeVar("Item")
Read = TypeVar("Read")
S = TypeVar("S")


class SeededSamples(Dataset[S], ABC, Generic[Item, Read, S]):
    """Items as samples; one that cannot be used is named, and in a training the next usable one stands in for it."""

    def __init__(self, items: Sequence[Item], seed: int = 0, patience: int = 0) -> None:
        """`patience`: how many unusable items in a row are skipped; 0 in a test, where none stands for another."""
        self.items, self.seed, self.patience = items, seed, patience

    @abstractmethod
    def read(self, item: Item) -> Read:
        """Return an item as it is before anything random. Raises UnusableError where it is damaged."""

    @abstractmethod
    def sample(self, position: int, found: Read | None, failed: list[str]) -> S:
        """Return the sample at `position`, made of what was read; blank or empty where nothing could be read.

        `failed` names the files that could not be used. What is drawn comes from the global sources of randomness.
        """

    def usable(self, position: int, failed: list[str]) -> Read | None:
        """Return the item at `position`, or the next that can be used; names of what cannot are added to `failed`."""
        return next_usable(self.items, position, self.patience, self.read, failed)

    def seed_of(self, key: SampleKey) -> int:
        """Return the seed under which a sample is made."""
        return derive(self.seed, "sample", *key)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, key: SampleKey) -> S:
        failed: list[str] = []
        with seeded(self.seed_of(key)):
            return self.sample(key.position, self.usable(key.position, failed), failed)


def the_one(samples: list[S]) -> S:
    """Return the only sample: the `collate` of loaders whose batches have one sample."""
    (sample,) = samples
    return sample
