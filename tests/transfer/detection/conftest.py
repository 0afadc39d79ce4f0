"""Digits in boxes, as a small cut that a test may damage, and constructed rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.libraries import library
from tests.transfer import kinds

library("pycocotools", "pycocotools")

from tests.transfer.detection.coco import SmallCoco  # noqa: E402 (what it imports is skipped above)


@pytest.fixture
def small_coco(tmp_path: Path) -> SmallCoco:
    return SmallCoco(tmp_path / "coco")


@pytest.fixture
def small_boxes(digit_boxes: Path, tmp_path: Path) -> Path:
    """Return the folder of 12 training and 4 test pictures; a copy that a test may damage."""
    return kinds.cut_boxes(digit_boxes, tmp_path / "small_boxes")


@pytest.fixture
def detect_command(small_boxes: Path) -> list[str]:
    """A real training of 6 steps; add --encoder and --runs."""
    return kinds.detection(small_boxes)
