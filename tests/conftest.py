"""Shared fixtures: the embedded digits, whole and as a small cut for runs that take seconds."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmarks.digits.folders import write_digits
from tests import small

os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole embedded data set."""
    root = tmp_path_factory.mktemp("digits")
    write_digits(root)
    return root


@pytest.fixture
def small_digits(digits: Path, tmp_path: Path) -> Path:
    """48 unlabelled scans, 4 training and 2 test scans per class; a copy that a test may damage."""
    return small.cut_digits(digits, tmp_path / "small_digits")


@pytest.fixture
def pretrain_command(small_digits: Path) -> list[str]:
    """A real pretraining of 9 steps; add --runs."""
    return small.pretraining(small_digits)


@pytest.fixture
def transfer_command(small_digits: Path) -> list[str]:
    """A real fine-tuning of 8 steps; add --encoder and --runs."""
    return small.classification(small_digits)


@pytest.fixture(scope="session")
def simmim_run(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a pretraining of 9 steps, for all tests that only read it."""
    from tests.runs import trained

    folder = tmp_path_factory.mktemp("pretrained")
    return trained(small.pretraining(small.cut_digits(digits, folder / "data")), folder / "runs")
