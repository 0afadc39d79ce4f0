"""Choosing the frames of clips: one clip at random for training, several at segment centres for a test."""

from __future__ import annotations

import itertools
import random

import numpy as np

from transfer.video.data.recipe import ClipSampling


def training_clip(number_of_frames: int, sampling: ClipSampling) -> np.ndarray:
    """Return the indices [T] int64 of a clip that begins anywhere it fits, drawn from Python's `random`.

    A clip lasts frames x stride, as in Video-Swin. Its start is drawn as by pytorchvideo's RandomClipSampler, but in
    frames; with several segments, that of each part within its own.
    """
    length = sampling.frames * sampling.stride
    starts = max(number_of_frames - length + 1, 1)
    ends = [starts * at / sampling.segments for at in range(sampling.segments + 1)]
    first = [min(int(random.uniform(*part)), starts - 1) for part in itertools.pairwise(ends)]
    (indices,) = _clips(np.array([first]), number_of_frames, sampling)
    return np.asarray(indices)


def test_clips(number_of_frames: int, sampling: ClipSampling) -> np.ndarray:
    """Return the indices [clips, T] int64 of the clips centred in equal segments of the video.

    With `sampling.segments`, each clip has a part in every one of them: a single one in their middles, several evenly
    spread. Source: SampleFrames(test_mode=True) of mmaction2 0.x, as Video-Swin's test has it.
    """
    starts = max(number_of_frames - sampling.frames * sampling.stride + 1, 0)
    count, parts = sampling.test_clips, sampling.segments
    step = starts / (count * parts)
    first = np.arange(count * parts) * step + step / 2
    return _clips(first.astype(np.int64).reshape(parts, count).T, number_of_frames, sampling)


def _clips(first: np.ndarray, number_of_frames: int, sampling: ClipSampling) -> np.ndarray:
    """Return the indices [clips, T] from the first frames [clips, segments] of the clips' parts.

    A video shorter than a part begins again.
    """
    indices: np.ndarray = first[..., None] + np.arange(sampling.frames) * sampling.stride
    looped: np.ndarray = indices.reshape(len(first), -1) % number_of_frames
    return looped
