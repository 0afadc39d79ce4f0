"""Videos of moving digits: deterministic frames, and one frame does not show the motion."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from benchmarks.digits.motion import MOTIONS, TEST_VIDEOS, VIDEO_SIZE_PX, _placed, clips, write_digit_motion
from tests.support.libraries import library

library("av", "av")


def decoded(path: Path) -> np.ndarray:
    import av

    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(stream)])


def test_layout(motion: Path) -> None:
    for split, count in (("train", 120), ("val", 30)):
        folders = sorted((motion / split).iterdir())
        assert [folder.name for folder in folders] == sorted(MOTIONS)
        assert all(len(list(folder.glob("*.mp4"))) == count for folder in folders)
    assert decoded(next((motion / "val" / "up").iterdir())).shape == (12, 32, 32, 3)
    assert write_digit_motion(motion).startswith("600 videos, content ")


def test_the_same_frames_everywhere() -> None:
    total = hashlib.sha256()
    for clip in clips("test", 8):
        # Rounded: interpolation may differ in the last bit from machine to machine.
        total.update((clip.frames[::4] // 32).tobytes())
    assert total.hexdigest()[:16] == "f2b6fe26d7fb3608", "changed videos are a new VERSION and a new task"


def test_coding_changes_little(motion: Path) -> None:
    for clip, path in zip(clips("test", 1), sorted((motion / "val" / "down").iterdir()), strict=False):
        assert np.abs(decoded(path).astype(int) - clip.frames).mean() < 8


def test_a_digit_comes_back_on_the_other_side() -> None:
    ink = np.zeros((4, 6))
    ink[1, 2] = 1
    assert np.argwhere(_placed(ink, 0, 0) == 1).tolist() == [[1, 2]]
    assert np.argwhere(_placed(ink, 1 / 4, -1 / 8) == 1).tolist() == [[1 + VIDEO_SIZE_PX // 4, VIDEO_SIZE_PX - 2]]
    between = _placed(ink, -1.25 / VIDEO_SIZE_PX, 0)
    assert between[[0, -1], 2] == pytest.approx([0.75, 0.25]), "a quarter of a pixel over the edge"
    assert between.sum() == pytest.approx(1)


def test_motions_go_where_they_say() -> None:
    """Where two frames correlate best is how far the digit went from the one to the other."""
    steps = {"down": (1, 0), "left": (0, -1), "right": (0, 1), "up": (-1, 0)}
    for clip in clips("test", 16):
        first, later = (np.fft.fft2(clip.frames[time].mean(2) / 255) for time in (0, 4))
        correlation = np.fft.ifft2(first.conj() * later).real
        went = np.array(np.unravel_index(correlation.argmax(), correlation.shape))
        went = (went + VIDEO_SIZE_PX // 2) % VIDEO_SIZE_PX - VIDEO_SIZE_PX // 2
        assert np.abs(went - 4 * 32 / 26 * np.array(steps[clip.motion])).max() < 2, (clip.motion, went)


@pytest.fixture(scope="module")
def grey(motion: Path) -> dict[str, tuple[np.ndarray, list[str]]]:
    """By split: all videos in grey from 0 to 1 [videos, frames, pixels], and their labels."""
    found = {}
    for split in ("train", "val"):
        paths = sorted((motion / split).rglob("*.mp4"))
        clips = np.stack([decoded(path).mean(3) / 255 for path in paths])
        found[split] = (clips.reshape(*clips.shape[:2], -1), [path.parent.name for path in paths])
    return found


@pytest.mark.parametrize("time", [0, 5, 11])
def test_one_frame_does_not_show_the_motion(grey: dict[str, tuple[np.ndarray, list[str]]], time: int) -> None:
    (train, train_labels), (test, test_labels) = ((clips[:, time], labels) for clips, labels in grey.values())
    chance = binom(TEST_VIDEOS, 1 / len(MOTIONS))
    for classifier in (KNeighborsClassifier(1), LogisticRegression(C=0.01, max_iter=200)):
        score = classifier.fit(train, train_labels).score(test, test_labels)
        assert score <= chance.ppf(0.999) / TEST_VIDEOS
