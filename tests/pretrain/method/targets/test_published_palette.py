"""iGPT's published colours: read from a NumPy file, assigned as NumPy assigns them, refused where they are not that."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import mimbench
from benchmarks.encoders import IMAGENET_MEAN, IMAGENET_STD
from benchmarks.errors import UserError
from pretrain.method.frame import Frame
from pretrain.method.objectives import ClusterObjective
from pretrain.method.palette import read_colours
from pretrain.method.targets import ColourClusters
from tests.support.runs import record_of, trained

CPU = torch.device("cpu")
MEAN, STD = (np.array(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))


def write_centres(path: Path, dtype: str = "float32") -> np.ndarray:
    """Write 512 centres of -1 to 1, the corners of the cube among them; return them."""
    corners = np.array(np.meshgrid([-1, 1], [-1, 1], [-1, 1])).reshape(3, 8).T
    centres = np.concatenate([corners, np.random.default_rng(0).uniform(-1, 1, (504, 3))]).astype(dtype)
    np.save(path, centres)
    return centres


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_pixels_get_the_centre_that_brute_force_finds(tmp_path: Path, dtype: str) -> None:
    """As in openai/image-gpt: levels of 0 to 255 become level / 127.5 - 1, and the nearest centre counts."""
    centres = write_centres(tmp_path / "kmeans_centers.npy", dtype).astype(np.float64)
    levels = np.random.default_rng(1).integers(0, 256, (4, 3, 32, 32))
    scaled = (levels / 127.5 - 1).transpose(0, 2, 3, 1).reshape(-1, 1, 3)
    distances = ((scaled - centres[None]) ** 2).sum(-1)
    target = ColourClusters(palette=str(tmp_path / "kmeans_centers.npy"))
    frame = Frame(32, 3, IMAGENET_MEAN, IMAGENET_STD, mask_patch_size_px=8, stride_px=8, features=16)
    objective = target.build(frame, CPU)
    assert isinstance(objective, ClusterObjective)
    assert objective.outputs == 512
    images = torch.from_numpy(((levels / 255 - MEAN) / STD).astype(np.float32))
    found = objective.classes(images).numpy().reshape(-1)
    chosen = distances[np.arange(len(found)), found]
    assert (chosen - distances.min(1)).max() < 1e-6  # a tie in fp32 may go to either
    assert (found == distances.argmin(1)).mean() > 0.999


def test_a_recipe_trains_on_them_and_they_are_part_of_the_run(
    pretrain_command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "kmeans_centers.npy"
    write_centres(file)
    command = [*pretrain_command, "training.epochs=1", "training.schedule.warmup_epochs=0"]
    target = f"target={{kind: colour_clusters, palette: '{file}', resolution_px: 8}}"
    run = trained([*command, target], tmp_path / "runs")
    assert record_of(run).status == "completed"
    moved = file.rename(tmp_path / "moved.npy")
    assert mimbench.main([*command, target.replace(str(file), str(moved)), "--runs", str(tmp_path / "runs")]) == 0
    assert "already done" in capsys.readouterr().out


def _objects() -> np.ndarray:
    return np.array([{"a": 1}, None], dtype=object)


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (np.zeros((512, 4), np.float32), r"\[512, 4\]"),
        (np.zeros((1, 3), np.float32), r"\[1, 3\]"),
        (np.zeros((2, 2, 3), np.float32), r"float32 \[2, 2, 3\]"),
        (np.full((4, 3), 127, np.int64), "int64"),
        (np.array([[0, 0, 0], [0, 255, 0]], np.float32), "from 0 to 255"),
        (np.array([[0, 0, 0], [0, np.nan, 0]]), "from nan to nan"),
        (_objects(), "allow_pickle=False"),
    ],
)
def test_an_array_of_other_content_is_refused(tmp_path: Path, content: np.ndarray, word: str) -> None:
    np.save(tmp_path / "centres.npy", content, allow_pickle=True)
    with pytest.raises(UserError, match=word) as caught:
        read_colours(tmp_path / "centres.npy")
    assert "iGPT's kmeans_centers.npy" in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY\x01\x00", b"PK\x03\x04", b"\x80\x04]."])
def test_a_file_that_is_no_array_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "centres.npy").write_bytes(content)
    with pytest.raises(UserError, match=r"target\.palette"):
        read_colours(tmp_path / "centres.npy")
