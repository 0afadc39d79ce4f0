"""Scenes of digits: deterministic, in ADE20K's layout, and no scan on both sides."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from benchmarks.catalogue.tasks import find_task
from benchmarks.digits.folders import labelled_scans
from benchmarks.digits.scenes import MARK, _scenes, write_digit_scenes
from benchmarks.errors import UserError


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("scenes") / "digit_scenes"
    find_task("digit_scenes").provide(root)
    return root


def test_layout_sizes_and_labels(written: Path) -> None:
    for split, count in (("training", 200), ("validation", 100)):
        images, masks = (sorted((written / kind / split).iterdir()) for kind in ("images", "annotations"))
        assert [path.name for path in images] == [path.name for path in masks]
        assert len(images) == count
        values = np.zeros(256, np.int64)
        for image, mask in zip(images, masks, strict=True):
            with Image.open(image) as picture, Image.open(mask) as labels:
                assert (picture.mode, picture.size) == ("RGB", labels.size) == ("RGB", (64, 64))
                pixels = np.asarray(labels)
            values += np.bincount(pixels.ravel(), minlength=256)
            quarters = [quarter for half in np.hsplit(pixels, 2) for quarter in np.vsplit(half, 2)]
            assert 2 <= sum((quarter >= 2).any() for quarter in quarters) <= 4, "several digits a scene"
        assert set(values.nonzero()[0]) == set(range(12)), "0 ignored, 1 background, 2 to 11 the digits"
        assert values[1] > values[2:].sum() > 0


def test_the_same_bytes_everywhere(written: Path, tmp_path: Path) -> None:
    mark = write_digit_scenes(tmp_path / "again")
    assert mark == write_digit_scenes(written)
    assert mark.startswith("600 images, content 4f8bbf9b8f43c93c"), "changed scenes are a new VERSION and a new task"


def test_no_scan_is_in_training_and_validation() -> None:
    known = {scan.tobytes() for scan in np.round(load_digits().images * (255 / 16)).astype(np.uint8)}
    train, test = ({scan.tobytes() for _, scan in labelled_scans(split)} for split in ("train", "test"))
    assert (len(train), len(test)) == (200, 600)
    assert train.isdisjoint(test)
    assert train | test <= known


def test_a_border_lies_between_digit_and_background() -> None:
    scene = next(iter(_scenes("train", 1)))
    inside = np.pad(scene.mask >= 2, 1)
    near = inside[:-2, 1:-1] | inside[2:, 1:-1] | inside[1:-1, :-2] | inside[1:-1, 2:]
    assert inside.any()
    assert not (near & (scene.mask == 1)).any()


def test_a_data_set_that_is_there_is_left_alone(tmp_path: Path) -> None:
    theirs = tmp_path / "images" / "mine.png"
    theirs.parent.mkdir()
    theirs.write_bytes(b"mine")
    find_task("digit_scenes").provide(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["images"]
    with pytest.raises(UserError, match="written by this program"):
        write_digit_scenes(tmp_path)
    assert theirs.read_bytes() == b"mine"


def test_scenes_of_another_version_are_refused(written: Path, tmp_path: Path) -> None:
    """Such as those that lie there since an earlier release: scores on them would be of another task."""
    root = tmp_path / "digit_scenes"
    shutil.copytree(written, root)
    find_task("digit_scenes").provide(root)
    (root / MARK).write_text('{"version": 1, "fingerprint": "of its time"}')
    with pytest.raises(UserError, match=r"version 2 of this data set.*says 1"):
        find_task("digit_scenes").provide(root)
    assert write_digit_scenes(root) == write_digit_scenes(written), "the demo writes them again"
