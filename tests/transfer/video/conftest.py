"""Clips of moving digits, whole and as a small cut that a test may damage; generated videos of any form."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.libraries import library

library("av", "av")

TRAIN_VIDEOS, TEST_VIDEOS = 8, 4
"""Of each class in the small cut."""


@pytest.fixture(scope="session")
def motion(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from benchmarks.digits.motion import write_digit_motion

    root = tmp_path_factory.mktemp("digit_motion")
    write_digit_motion(root)
    return root


@pytest.fixture
def small_motion(motion: Path, tmp_path: Path) -> Path:
    """The first videos of each class."""
    root = tmp_path / "small_motion"
    for split, count in (("train", TRAIN_VIDEOS), ("val", TEST_VIDEOS)):
        for folder in sorted(each for each in (motion / split).iterdir() if each.is_dir()):
            kept = root / split / folder.name
            kept.mkdir(parents=True)
            for file in sorted(folder.iterdir())[:count]:
                shutil.copy(file, kept)
    return root


@pytest.fixture
def video_command(small_motion: Path) -> list[str]:
    """A real training of a few steps over 3 epochs; add --encoder and --runs."""
    return [
        "transfer",
        "digit_motion",
        f"data.root={small_motion}",
        "image_size_px=32",
        "sampling.frames=4",
        "patch_frames=2",
        "window_frames=2",
        "sampling.test_clips=2",
        "sampling.test_crops=3",
        "head_dropout=0.5",
        "drop_path_rate=0.1",
        "views_along_the_way=one",
        "evaluate_every_epochs=2",
        "training.epochs=3",
        "training.batch_size=10",
        "training.schedule.warmup_epochs=1",
        "training.log_every_steps=1",
        "training.checkpoint_every_steps=2",
    ]


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.transfer.video.videos import write_video

    root = tmp_path_factory.mktemp("videos")
    for split, count in (("train", 3), ("val", 2)):
        for name in ("air drumming", "zumba"):
            for number in range(count):
                write_video(root / split / name / f"{name[0]}{split}{number}.mp4", frames=20 + number)
    return root


@pytest.fixture
def videos(written: Path, tmp_path: Path) -> Path:
    """6 training and 4 test videos of 2 classes in Kinetics' layout; a copy that a test may damage."""
    return Path(shutil.copytree(written, tmp_path / "videos"))
