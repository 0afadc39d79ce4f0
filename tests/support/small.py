"""Small data and commands that do real work in seconds, for the tests of every room."""

from __future__ import annotations

import shutil
from pathlib import Path

SWIN = Path(__file__).with_name("small_swin.yaml")
RANDOM = ["--encoder", f"random:{SWIN}"]
"""A transfer's encoder that is not trained."""


def cut_digits(digits: Path, root: Path) -> Path:
    """Copy 48 unlabelled scans, 4 training and 2 test scans of each class to `root`; return it."""
    _copy(sorted((digits / "unlabelled").iterdir())[:48], root / "unlabelled")
    for label in range(10):
        _copy(sorted((digits / "train" / str(label)).iterdir())[:4], root / "train" / str(label))
        _copy(sorted((digits / "test" / str(label)).iterdir())[:2], root / "test" / str(label))
    return root


def _copy(files: list[Path], folder: Path) -> None:
    folder.mkdir(parents=True)
    for file in files:
        shutil.copy(file, folder)


def pretraining(data: Path) -> list[str]:
    """A real pretraining of 9 steps; add --runs."""
    return [
        "pretrain",
        "digits_simmim",
        f"encoder={SWIN}",
        f"data.root={data}",
        "image_size_px=32",
        "masking.mask_patch_size_px=8",
        "training.epochs=3",
        "training.batch_size=16",
        "training.schedule.warmup_epochs=1",
        "training.log_every_steps=2",
        "training.checkpoint_every_steps=2",
    ]


def classification(data: Path) -> list[str]:
    """A real fine-tuning of 8 steps; add --encoder and --runs."""
    return [
        "transfer",
        "digits",
        f"data.root={data}",
        "image_size_px=32",
        "training.epochs=4",
        "training.batch_size=20",
        "training.schedule.warmup_epochs=1",
        "training.log_every_steps=2",
        "training.checkpoint_every_steps=3",
        "evaluate_every_epochs=2",
    ]
