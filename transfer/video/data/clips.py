"""Choosing the frames of clips: one clip at random for training, several at segment centres for a test."""

from __future__ import annotations

import random

import numpy as np

from transfer.video.data.recipe import ClipSampling


def training_clip(number_of_frames: int, sampling: ClipSampling) -> np.ndarray:
    """Return the indices [T] int64 of a clip that begins anywhere it fits, drawn from Python's `random`.

    A clip lasts frames x stride, as in Video-Swin. Its start is drawn as by pytorchvideo's RandomClipSampler, but in
    frames.
    """
    length = sampling.frames * sampling.stride
    starts = max(number_of_frames - length + 1, 1)
    first = min(int(random.uniform(0, starts)), starts - 1)
    (indices,) = _clip(np.array([first]), number_of_frames, sampling)
    return np.asarray(indices)


def test_clips(number_of_frames: int, sampling: ClipSampling) -> np.ndarray:
    """Return the indices [clips, T] int64 of the clips centred in equal segments of the video.

    Source: SampleFrames(test_mode=True) of mmaction2 0.x, as Video-Swin's test has it.
    """
    starts = number_of_frames - sampling.frames * sampling.stride + 1
    if starts < 1:
        return _clip(np.zeros(sampling.test_clips, np.int64), number_of_frames, sampling)
    segment = starts / sampling.test_clips
    first = np.arange(sampling.test_clips) * segment + segment / 2
    return _clip(first.astype(np.int64), number_of_frames, sampling)


def _clip(first: np.ndarray, number_of_frames: int, sampling: ClipSampling) -> np.ndarray:
    """Return the indices [clips, T] from the clips' first frames; a video shorter than a clip begins again."""
    indices: np.ndarray = first[:, None] + np.arange(sampling.frames) * sampling.stride
    looped: np.ndarray = indices % number_of_frames
    return looped
