"""Videos of moving digits: deterministic frames, and one frame does not tell the motion."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from benchmarks.digit_motion import MOTIONS, VIDEO_SIZE_PX, _placed, clips, write_digit_motion
from tests.libraries import library

library("av", "av")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("motion") / "digit_motion"
    write_digit_motion(root)
    return root


def decoded(path: Path) -> np.ndarray:
    import av

    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(stream)])


def test_layout(written: Path) -> None:
    for split, count in (("train", 40), ("val", 10)):
        folders = sorted((written / split).iterdir())
        assert [folder.name for folder in folders] == sorted(MOTIONS)
        assert all(len(list(folder.glob("*.mp4"))) == count for folder in folders)
    assert decoded(next((written / "val" / "up").iterdir())).shape == (24, 48, 48, 3)
    assert write_digit_motion(written).startswith("400 videos, content ")


def test_the_same_frames_everywhere() -> None:
    total = hashlib.sha256()
    for clip in clips("test", 8):
        # Rounded: trigonometry may differ in the last bit from machine to machine.
        total.update((clip.frames[::8] // 32).tobytes())
    assert total.hexdigest()[:16] == "635e6abe4a0b8889", "changed videos are a new VERSION and a new task"


def test_coding_changes_little(written: Path) -> None:
    for clip, path in zip(clips("test", 1), sorted((written / "val" / "clockwise").iterdir()), strict=False):
        assert np.abs(decoded(path).astype(int) - clip.frames).mean() < 8


def test_motions_go_where_they_say() -> None:
    ink = np.zeros((VIDEO_SIZE_PX, VIDEO_SIZE_PX))
    ink[:12, 18:30] = 1  # at the top

    def centre(turn: float, right: float, down: float) -> np.ndarray:
        drawn = _placed(ink, 32, turn, right, down)
        rows, columns = np.indices(drawn.shape)
        return np.array([(columns * drawn).sum(), (rows * drawn).sum()]) / drawn.sum() - 23.5

    assert centre(0, 0, 0) == pytest.approx([0, -12], abs=0.7)
    assert centre(0.25, 0, 0) == pytest.approx([12, 0], abs=0.7), "a quarter clockwise: from the top to the right"
    assert centre(0, 0.25, 0.2) == pytest.approx([12, -12 + 9.6], abs=0.7)


@pytest.mark.parametrize("time", [0, 12, 23])
def test_one_frame_does_not_tell_the_motion(written: Path, time: int) -> None:
    def split(name: str) -> tuple[np.ndarray, list[str]]:
        paths = sorted((written / name).rglob("*.mp4"))
        return np.stack([decoded(path)[time].mean(2).ravel() / 255 for path in paths]), [p.parent.name for p in paths]

    (train, train_labels), (test, test_labels) = split("train"), split("val")
    for classifier in (KNeighborsClassifier(1), LogisticRegression(C=0.01, max_iter=200)):
        score = classifier.fit(train, train_labels).score(test, test_labels)
        assert score < 0.25, "chance is 0.125, and three standard deviations at 80 videos are 0.11"
