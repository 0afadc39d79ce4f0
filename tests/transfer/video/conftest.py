"""Clips of moving digits, whole and as a small cut that a test may damage; generated videos of any form."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.libraries import library
from tests.transfer import kinds

library("av", "av")


@pytest.fixture
def small_motion(motion: Path, tmp_path: Path) -> Path:
    """Return the folder of the first videos of each class; a copy that a test may damage."""
    return kinds.cut_motion(motion, tmp_path / "small_motion")


@pytest.fixture
def video_command(small_motion: Path) -> list[str]:
    """A real training of a few steps over 3 epochs; add --encoder and --runs."""
    return kinds.video(small_motion)


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
