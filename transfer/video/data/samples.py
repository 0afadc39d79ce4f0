"""Videos as samples: clips drawn and changed by seed, unreadable videos named and replaced instead of fatal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from benchmarks.engine.samples.loaders import SampleKey
from benchmarks.engine.samples.unreadable import next_usable
from benchmarks.engine.seeding import derive, seeded
from transfer.video.data.augment import Normalise, TrainingTransform, test_crops
from transfer.video.data.clips import test_clips, training_clip
from transfer.video.data.decode import reader_of
from transfer.video.data.reader import UnreadableVideo
from transfer.video.data.recipe import ClipSampling, Decoder, VideoAugmentation
from transfer.video.data.videos import LabelledVideo

FRAMES_AT_ONCE = 16


class Sample(NamedTuple):
    """A clip [C, T, H, W] uint8 with its label, and the videos that failed on the way to it."""

    clip: Tensor
    label: int
    unreadable: tuple[str, ...]


class Batch(NamedTuple):
    """Clips [B, C, T, H, W], uint8 as loaded and float32 after `to`; labels [B] int64; unreadable videos met."""

    clips: Tensor
    labels: Tensor
    unreadable: list[str]
    normalise: Normalise

    def to(self, device: torch.device) -> Batch:
        """Return the batch on the device, normalised there: bytes are a quarter of what floats would move."""
        clips, labels = (tensor.to(device, non_blocking=True) for tensor in (self.clips, self.labels))
        return self._replace(clips=self.normalise(clips), labels=labels)


class TrainingClips(Dataset[Sample]):
    """One clip of each training video; a video that cannot be read gives the next one that can, and is named."""

    def __init__(
        self,
        videos: Sequence[LabelledVideo],
        sampling: ClipSampling,
        augmentation: VideoAugmentation,
        image_size_px: int,
        normalise: Normalise,
        *,
        decoder: Decoder = "auto",
        seed: int = 0,
        patience: int = 0,
    ) -> None:
        """`patience`: how many unreadable videos in a row are skipped before a blank clip is returned."""
        self.videos, self.sampling, self.size, self.normalise = list(videos), sampling, image_size_px, normalise
        self.seed, self.patience = seed, patience
        self.open, self.transform = reader_of(decoder), TrainingTransform(augmentation, image_size_px)

    def collate(self, samples: list[Sample]) -> Batch:
        """Stack samples."""
        return Batch(
            clips=torch.stack([sample.clip for sample in samples]),
            labels=torch.tensor([sample.label for sample in samples], dtype=torch.int64),
            unreadable=[text for sample in samples for text in sample.unreadable],
            normalise=self.normalise,
        )

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, key: SampleKey) -> Sample:
        with seeded(derive(self.seed, "sample", *key)):
            return self._sample(key.position)

    def _sample(self, first: int) -> Sample:
        failed: list[str] = []
        found = next_usable(self.videos, first, self.patience, self._clip, failed)
        if found is None:
            blank = torch.zeros(3, self.sampling.frames, self.size, self.size, dtype=torch.uint8)
            return Sample(blank, self.videos[first].label, tuple(failed))
        frames, label = found
        return Sample(_channels_first(self.transform(frames)), label, tuple(failed))

    def _clip(self, video: LabelledVideo) -> tuple[Tensor, int]:
        """Return the frames [T, C, H, W] of a clip of the video, and its label."""
        with self.open(video.path) as reader:
            return reader.frames(training_clip(reader.number_of_frames, self.sampling).tolist()), video.label


class Views(NamedTuple):
    """All views [V, C, T, H, W] of a test video, uint8 as loaded and float32 after `to`; V is 0 where unreadable.

    Clip after clip, and of each clip crop after crop.
    """

    position: int
    label: int
    views: Tensor
    unreadable: list[str]
    normalise: Normalise

    def to(self, device: torch.device) -> Views:
        """Return the views on the device, normalised there."""
        return self._replace(views=self.normalise(self.views.to(device, non_blocking=True)))


class TestViews(Dataset[Views]):
    """Test videos, each one sample with all its views: clips at segment centres, by crops along the longer side."""

    __test__ = False  # no test case of pytest's

    def __init__(
        self,
        videos: Sequence[LabelledVideo],
        sampling: ClipSampling,
        image_size_px: int,
        normalise: Normalise,
        *,
        decoder: Decoder = "auto",
    ) -> None:
        self.videos, self.sampling, self.size, self.normalise = list(videos), sampling, image_size_px, normalise
        self.open = reader_of(decoder)

    @staticmethod
    def collate(samples: list[Views]) -> Views:
        """Return the one sample: the views of a video are batch enough."""
        (sample,) = samples
        return sample

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, key: SampleKey) -> Views:
        video = self.videos[key.position]
        try:
            views, failed = self._views(video), []
        except UnreadableVideo as fault:
            views, failed = (
                torch.empty(0, 3, self.sampling.frames, self.size, self.size, dtype=torch.uint8),
                [str(fault)],
            )
        return Views(key.position, video.label, views, failed, self.normalise)

    def _views(self, video: LabelledVideo) -> Tensor:
        with self.open(video.path) as reader:
            clips = test_clips(reader.number_of_frames, self.sampling)
            needed, places = np.unique(clips, return_inverse=True)
            parts = [test_crops(reader.frames(part), self.size, self.sampling.test_crops) for part in _parts(needed)]
        crops = [torch.cat(crop) for crop in zip(*parts, strict=True)]
        views = [crop[row] for row in torch.from_numpy(places.reshape(clips.shape)) for crop in crops]
        return torch.stack([_channels_first(view) for view in views])


def _parts(indices: np.ndarray) -> list[list[int]]:
    """Split indices so that no more frames than these are in memory at the video's own size."""
    return [indices[first : first + FRAMES_AT_ONCE].tolist() for first in range(0, len(indices), FRAMES_AT_ONCE)]


def _channels_first(frames: Tensor) -> Tensor:
    """Return a clip [C, T, H, W] of frames [T, C, H, W]."""
    return frames.transpose(0, 1).contiguous()
