"""Scenes of digits as a small cut that a test may damage."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.libraries import library
from tests.transfer import kinds

library("mmseg", "onedl-mmsegmentation")


@pytest.fixture
def small_scenes(scenes: Path, tmp_path: Path) -> Path:
    """Return the folder of 12 training and 4 test scenes; a copy that a test may damage."""
    return kinds.cut_scenes(scenes, tmp_path / "small_scenes")


@pytest.fixture
def segment_command(small_scenes: Path) -> list[str]:
    """A real training of 6 steps; add --encoder and --runs."""
    return kinds.segmentation(small_scenes)
