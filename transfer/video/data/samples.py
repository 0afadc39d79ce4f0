"""Videos as samples: clips drawn and changed by a seed; unreadable videos are named and replaced."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from benchmarks.engine.samples.seeded import SeededSamples, the_one
from transfer.video.data.augment import Normalise, TrainingTransform, test_crops
from transfer.video.data.clips import test_clips, training_clip
from transfer.video.data.decode import reader_of
from transfer.video.data.recipe import ClipSampling, Decoder, VideoAugmentation
from transfer.video.data.videos import LabelledVideo

FRAMES_AT_ONCE = 16


@dataclass(frozen=True)
class ClipForm:
    """Which frames of a video are seen, at what size, and how they are read."""

    sampling: ClipSampling
    image_size_px: int
    normalise: Normalise
    decoder: Decoder = "auto"

    def blank(self, clips: int) -> Tensor:
        """Return so many black clips [clips, C, T, H, W] uint8."""
        side = self.image_size_px
        return torch.zeros(clips, 3, self.sampling.clip_frames, side, side, dtype=torch.uint8)


class ClipSample(NamedTuple):
    """A clip [C, T, H, W] uint8 with its label, and the videos that could not be read before it."""

    clip: Tensor
    label: int
    unreadable: tuple[str, ...]


class ClipBatch(NamedTuple):
    """Clips [B, C, T, H, W], uint8 as loaded and float32 after `to`; labels [B] int64; videos that were unreadable."""

    clips: Tensor
    labels: Tensor
    unreadable: list[str]
    normalise: Normalise

    def to(self, device: torch.device) -> ClipBatch:
        """Return the batch on the device, where it is normalised: bytes to move are a quarter of the floats'."""
        clips, labels = (tensor.to(device, non_blocking=True) for tensor in (self.clips, self.labels))
        return self._replace(clips=self.normalise(clips), labels=labels)


class TrainingClips(SeededSamples[LabelledVideo, tuple[Tensor, int], ClipSample]):
    """One clip of each training video; a video that cannot be read is named, and replaced by the next one that can."""

    def __init__(
        self, videos: Sequence[LabelledVideo], form: ClipForm, augmentation: VideoAugmentation, seed: int, patience: int
    ) -> None:
        """`patience` is how many unreadable videos in a row are skipped before a blank clip is returned."""
        super().__init__(videos, seed, patience)
        self.form, self.open = form, reader_of(form.decoder)
        self.transform = TrainingTransform(augmentation, form.image_size_px)

    def collate(self, samples: list[ClipSample]) -> ClipBatch:
        """Stack samples to a batch."""
        labels = torch.tensor([sample.label for sample in samples], dtype=torch.int64)
        failed = [text for sample in samples for text in sample.unreadable]
        return ClipBatch(torch.stack([sample.clip for sample in samples]), labels, failed, self.form.normalise)

    def read(self, item: LabelledVideo) -> tuple[Tensor, int]:
        """Return the frames [T, C, H, W] of a clip of the video, and its label."""
        with self.open(item.path) as reader:
            return reader.frames(training_clip(reader.number_of_frames, self.form.sampling).tolist()), item.label

    def sample(self, position: int, found: tuple[Tensor, int] | None, failed: list[str]) -> ClipSample:
        if found is None:
            return ClipSample(self.form.blank(1)[0], self.items[position].label, tuple(failed))
        frames, label = found
        return ClipSample(_channels_first(self.transform(frames)), label, tuple(failed))


class Views(NamedTuple):
    """All views [V, C, T, H, W] of a test video, uint8 as loaded and float32 after `to`; V is 0 where unreadable.

    The views of the first clip come first, crop after crop, then those of the next clip.
    """

    position: int
    label: int
    views: Tensor
    unreadable: list[str]
    normalise: Normalise

    @property
    def positions(self) -> Tensor:
        return torch.tensor([self.position])

    @property
    def labels(self) -> Tensor:
        return torch.tensor([self.label])

    def to(self, device: torch.device) -> Views:
        """Return the views on the device, normalised there."""
        return self._replace(views=self.normalise(self.views.to(device, non_blocking=True)))


class TestViews(SeededSamples[LabelledVideo, Tensor, Views]):
    """Test videos, each as one sample with all its views: crops along the longer side, of clips at segment centres."""

    __test__ = False  # no test case of pytest's

    def __init__(self, videos: Sequence[LabelledVideo], form: ClipForm) -> None:
        super().__init__(videos)
        self.form, self.open = form, reader_of(form.decoder)

    @staticmethod
    def collate(samples: list[Views]) -> Views:
        return the_one(samples)

    def sample(self, position: int, found: Tensor | None, failed: list[str]) -> Views:
        views = self.form.blank(0) if found is None else found
        return Views(position, self.items[position].label, views, failed, self.form.normalise)

    @property
    def blank(self) -> Views:
        """A black video with as many views as any other."""
        sampling = self.form.sampling
        views = self.form.blank(sampling.test_clips * sampling.test_crops)
        return Views(0, 0, views, [], self.form.normalise)

    def read(self, item: LabelledVideo) -> Tensor:
        sampling, size = self.form.sampling, self.form.image_size_px
        with self.open(item.path) as reader:
            clips = test_clips(reader.number_of_frames, sampling)
            needed, places = np.unique(clips, return_inverse=True)
            parts = [test_crops(reader.frames(part), size, sampling.test_crops) for part in _parts(needed)]
        crops = [torch.cat(crop) for crop in zip(*parts, strict=True)]
        views = [crop[row] for row in torch.from_numpy(places.reshape(clips.shape)) for crop in crops]
        return torch.stack([_channels_first(view) for view in views])


def _parts(indices: np.ndarray) -> list[list[int]]:
    """Split indices into parts, so that only FRAMES_AT_ONCE frames are in memory at the video's own size."""
    return [indices[first : first + FRAMES_AT_ONCE].tolist() for first in range(0, len(indices), FRAMES_AT_ONCE)]


def _channels_first(frames: Tensor) -> Tensor:
    """Return a clip [C, T, H, W] of frames [T, C, H, W]."""
    return frames.transpose(0, 1).contiguous()
