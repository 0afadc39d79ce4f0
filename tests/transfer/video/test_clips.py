"""Clips: test clips by mmaction2's formula, training clips wherever they fit."""

from __future__ import annotations

import random

import numpy as np
import pytest
from pytorchvideo.data.clip_sampling import RandomClipSampler

from transfer.video.data.clips import test_clips as clips_of_test
from transfer.video.data.clips import training_clip
from transfer.video.data.recipe import ClipSampling


def mmaction2(frames_in_video: int, clip_len: int, interval: int, num_clips: int) -> np.ndarray:
    """SampleFrames(test_mode=True), out_of_bound_opt="loop", written down from its documentation."""
    length = clip_len * interval
    average = (frames_in_video - length + 1) / num_clips
    firsts = [int(k * average + average / 2) if frames_in_video >= length else 0 for k in range(num_clips)]
    return np.array([[(first + t * interval) % frames_in_video for t in range(clip_len)] for first in firsts])


@pytest.mark.parametrize("count", [1, 5, 63, 64, 65, 67, 100, 250, 300, 1799])
@pytest.mark.parametrize("clips", [1, 4, 10])
def test_test_clips_are_those_of_video_swin(count: int, clips: int) -> None:
    found = clips_of_test(count, ClipSampling(frames=32, stride=2, test_clips=clips))
    assert (found == mmaction2(count, 32, 2, clips)).all()


def test_a_ten_second_clip_by_hand() -> None:
    # 300 frames, clips of 64: 237 first frames, 4 segments of 59.25, their middles.
    firsts = clips_of_test(300, ClipSampling())[:, 0]
    assert firsts.tolist() == [29, 88, 148, 207]


def test_training_clips_begin_wherever_they_fit() -> None:
    random.seed(0)
    sampling = ClipSampling(frames=4, stride=3)
    drawn = [training_clip(20, sampling) for _ in range(2000)]
    assert {int(clip[0]) for clip in drawn} == set(range(20 - 12 + 1))
    assert all((np.diff(clip) == 3).all() for clip in drawn)
    counts = np.bincount([clip[0] for clip in drawn])
    assert counts.min() > 160, "2000 / 9 = 222 each"


def test_a_short_video_is_shown_again() -> None:
    assert training_clip(5, ClipSampling(frames=4, stride=2)).tolist() == [0, 2, 4, 1]


@pytest.mark.parametrize("frames", [12, 13, 20, 300])
def test_training_clips_begin_where_pytorchvideos_random_sampler_begins_them(frames: int) -> None:
    sampler = RandomClipSampler(12)  # it draws a time; here its seconds are frames
    random.seed(7)
    theirs = [min(int(sampler(0, frames + 1, {}).clip_start_sec), frames - 12) for _ in range(200)]
    random.seed(7)
    assert [int(training_clip(frames, ClipSampling(frames=4, stride=3))[0]) for _ in range(200)] == theirs
