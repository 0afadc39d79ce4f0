"""The digits as data of every kind of task, whole: nothing may change what lies there."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def digit_boxes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from benchmarks.digits.boxes import write_digit_boxes

    root = tmp_path_factory.mktemp("digit_boxes")
    write_digit_boxes(root)
    return root


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from benchmarks.digits.scenes import write_digit_scenes

    root = tmp_path_factory.mktemp("digit_scenes")
    write_digit_scenes(root)
    return root


@pytest.fixture(scope="session")
def motion(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from benchmarks.digits.motion import write_digit_motion

    root = tmp_path_factory.mktemp("digit_motion")
    write_digit_motion(root)
    return root
