"""Shared fixtures: the embedded digits, whole and as a small cut for runs that take seconds."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from benchmarks.digits.folders import write_digits

os.environ.setdefault("OMP_NUM_THREADS", "1")
REPOSITORY = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole embedded data set."""
    root = tmp_path_factory.mktemp("digits")
    write_digits(root)
    return root


@pytest.fixture
def small_digits(digits: Path, tmp_path: Path) -> Path:
    """48 unlabelled scans, 4 training and 2 test scans per class; a copy that a test may damage."""
    return cut(digits, tmp_path / "small_digits")


def cut(digits: Path, root: Path) -> Path:
    """Copy to `root` what `small_digits` has; return it."""
    _copy(sorted((digits / "unlabelled").iterdir())[:48], root / "unlabelled")
    for label in range(10):
        _copy(sorted((digits / "train" / str(label)).iterdir())[:4], root / "train" / str(label))
        _copy(sorted((digits / "test" / str(label)).iterdir())[:2], root / "test" / str(label))
    return root


def _copy(files: list[Path], folder: Path) -> None:
    folder.mkdir(parents=True)
    for file in files:
        shutil.copy(file, folder)


@pytest.fixture
def pretrain_command(small_digits: Path) -> list[str]:
    """A real pretraining of 9 steps; add --runs."""
    return [
        "pretrain",
        "digits_simmim",
        f"data.root={small_digits}",
        "image_size_px=32",
        "masking.mask_patch_size_px=8",
        "training.epochs=3",
        "training.batch_size=16",
        "training.schedule.warmup_epochs=1",
        "training.log_every_steps=2",
        "training.checkpoint_every_steps=2",
    ]


@pytest.fixture
def transfer_command(small_digits: Path) -> list[str]:
    """A real fine-tuning of 8 steps; add --encoder and --runs."""
    return [
        "transfer",
        "digits",
        f"data.root={small_digits}",
        "image_size_px=32",
        "training.epochs=4",
        "training.batch_size=20",
        "training.schedule.warmup_epochs=1",
        "training.log_every_steps=2",
        "training.checkpoint_every_steps=3",
        "evaluate_every_epochs=2",
    ]
