"""The digits as data of every kind of task, whole: nothing may change what lies there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import MadeOnce


@pytest.fixture(scope="session")
def digit_boxes(made_once: MadeOnce) -> Path:
    from benchmarks.digits.boxes import write_digit_boxes

    return made_once("digit_boxes", write_digit_boxes)


@pytest.fixture(scope="session")
def scenes(made_once: MadeOnce) -> Path:
    from benchmarks.digits.scenes import write_digit_scenes

    return made_once("digit_scenes", write_digit_scenes)
