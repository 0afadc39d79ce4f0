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


def test_one_frame_of_each_segment_as_in_tsn() -> None:
    """Written down from mmaction2's SampleFrames(clip_len=1, num_clips=8, test_mode=True) for 100 frames."""
    sampling = ClipSampling(frames=1, stride=1, segments=8, test_clips=1)
    (found,) = clips_of_test(100, sampling)
    assert found.tolist() == [6, 18, 31, 43, 56, 68, 81, 93]
    random.seed(0)
    drawn = np.array([training_clip(100, sampling) for _ in range(500)])
    edges = np.linspace(0, 100, 9)
    assert (drawn >= np.floor(edges[:-1])).all()
    assert (drawn < np.ceil(edges[1:])).all()
    assert len(np.unique(drawn[:, 0])) >= 12, "anywhere in the segment"


def test_several_frames_of_each_segment_as_in_v_jepa() -> None:
    """Two segments of 100 frames, of each a clip that lasts 16 frames; several clips of a test lie between."""
    sampling = ClipSampling(frames=4, stride=4, segments=2, test_clips=1)
    (found,) = clips_of_test(200, sampling)
    assert found.tolist() == [46, 50, 54, 58, 138, 142, 146, 150]
    pair = clips_of_test(200, sampling.model_copy(update={"test_clips": 2}))
    assert pair[:, 0].tolist() == [23, 69]
    assert pair[:, 4].tolist() == [115, 161]
    random.seed(0)
    drawn = np.array([training_clip(200, sampling) for _ in range(500)])
    assert drawn.shape == (500, 8)
    assert drawn[:, 3].max() < 108
    assert drawn[:, 4].min() >= 92
    assert (np.diff(drawn[:, 4:]) == 4).all()


def test_segments_of_a_video_that_is_shorter_than_its_parts() -> None:
    (found,) = clips_of_test(5, ClipSampling(frames=4, stride=2, segments=2, test_clips=1))
    assert found.tolist() == [0, 2, 4, 1] * 2
