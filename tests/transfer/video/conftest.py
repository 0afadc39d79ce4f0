"""A small data set of generated videos in Kinetics' layout."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.libraries import library

library("av", "av")
library("pytorchvideo", "pytorchvideo")


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
    """6 training and 4 test videos of 2 classes; a copy that a test may damage."""
    import shutil

    return Path(shutil.copytree(written, tmp_path / "videos"))
