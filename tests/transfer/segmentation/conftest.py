"""Scenes of digits, whole and as a small cut that a test may damage."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from benchmarks.digits.scenes import write_digit_scenes
from tests.libraries import library

library("mmseg", "onedl-mmsegmentation")


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("digit_scenes")
    write_digit_scenes(root)
    return root


@pytest.fixture
def small_scenes(scenes: Path, tmp_path: Path) -> Path:
    """12 training and 4 test scenes."""
    root = tmp_path / "small_scenes"
    for kind in ("images", "annotations"):
        for split, count in (("training", 12), ("validation", 4)):
            folder = root / kind / split
            folder.mkdir(parents=True)
            for file in sorted((scenes / kind / split).iterdir())[:count]:
                shutil.copy(file, folder)
    return root


@pytest.fixture
def segment_command(small_scenes: Path) -> list[str]:
    """A real training of 6 steps; add --encoder and --runs."""
    return [
        "transfer",
        "digit_scenes",
        f"data.root={small_scenes}",
        "image_size_px=64",
        "head_channels=16",
        "auxiliary_channels=8",
        "drop_path_rate=0.1",
        "training.steps=6",
        "training.batch_size=4",
        "training.schedule.warmup_steps=2",
        "training.log_every_steps=2",
        "training.checkpoint_every_steps=2",
        "evaluate_every_steps=4",
    ]
