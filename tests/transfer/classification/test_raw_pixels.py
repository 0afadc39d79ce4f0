"""Raw pixels as an encoder: the floor under every learned one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mimbench
from benchmarks.encoders import RAW_PIXELS
from tests.support.runs import only_run, record_of


def scans(root: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the pixels of a split, one row each of length 1, and the digits."""
    files = sorted(root.glob("*/*.png"))
    pixels = np.stack([np.asarray(Image.open(file).convert("RGB"), float).ravel() for file in files])
    return pixels / np.linalg.norm(pixels, axis=1, keepdims=True), np.array([int(file.parent.name) for file in files])


def test_nearest_neighbours_of_raw_pixels_are_those_of_the_files(
    tmp_path: Path, small_digits: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "runs"
    wanted = ["--recipe", "digits_knn", "k=1", "other_k=[]", f"data.root={small_digits}"]
    assert mimbench.main(["transfer", "digits", "--encoder", RAW_PIXELS, *wanted, "--runs", str(runs)]) == 0
    record = record_of(only_run(runs))
    (known, labels), (asked, truth) = scans(small_digits / "train"), scans(small_digits / "test")
    nearest = labels[(asked @ known.T).argmax(axis=1)]
    assert record.metrics["top1"].last == pytest.approx(100 * (nearest == truth).mean())
    assert record.encoder is not None
    assert (record.encoder.init_stage, record.encoder.sha256) == ("random", None), "nothing was trained"
    assert "done: " in capsys.readouterr().out
