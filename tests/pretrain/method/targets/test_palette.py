"""The palette against SciPy and scikit-learn's full k-means, and as typed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mimbench
from benchmarks.errors import UserError
from pretrain.method.palette import draw_pixels, fit_colours, read_palette
from tests.support.huge_pictures import put_huge
from tests.support.runs import only_run, record_of
from tests.support.special_files import never_waiting, put, special_files


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Twelve images of 64 px: smooth colour gradients under noise."""
    folder, chance = tmp_path / "photos", np.random.default_rng(0)
    folder.mkdir()
    for number in range(12):
        corners = chance.random((2, 2, 3)).repeat(32, 0).repeat(32, 1)
        pixels = (corners + 0.1 * chance.standard_normal((64, 64, 3))).clip(0, 1) * 255
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
    return folder


def test_colours_are_those_of_well_separated_clusters() -> None:
    chance = np.random.default_rng(0)
    centres = np.array([[0.1, 0.1, 0.1], [0.9, 0.1, 0.2], [0.2, 0.8, 0.3], [0.5, 0.5, 0.9]])
    pixels = (centres.repeat(2000, 0) + 0.01 * chance.standard_normal((8000, 3))).astype(np.float32)
    found = np.array(fit_colours(pixels, 4, seed=0))
    expected = np.array(sorted(pixels.reshape(4, 2000, 3).mean(1).tolist(), key=sum))
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_pixels_are_means_of_squares(photos: Path) -> None:
    """Half the side: every drawn pixel is the mean of 2 x 2 pixels of its image; each of the two passes rounds."""
    file = photos / "0.png"
    drawn = draw_pixels([file], "RGB", 32, seed=0)
    with Image.open(file) as image:
        means = np.asarray(image, dtype=np.float64).reshape(32, 2, 32, 2, 3).mean(axis=(1, 3)).reshape(-1, 3)
    assert drawn.shape == (256, 3)
    gaps = np.abs(drawn[:, None] * 255 - means[None]).max(-1).min(1)
    assert gaps.max() <= 1


def test_mini_batches_lose_little_to_full_k_means(photos: Path) -> None:
    from scipy.cluster.vq import vq
    from sklearn.cluster import KMeans

    pixels = draw_pixels(sorted(photos.iterdir()), "RGB", 64, seed=0)
    full = KMeans(32, n_init=1, random_state=0).fit(pixels).cluster_centers_
    ours = np.array(fit_colours(pixels, 32, seed=0))
    error, least = (float((vq(pixels, centres)[1] ** 2).mean()) for centres in (ours, full))
    assert error < 1.1 * least


def test_the_command_writes_a_palette_and_a_recipe_trains_on_it(
    photos: Path, pretrain_command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "broken.png").write_bytes(b"")
    out = tmp_path / "palettes" / "mine.json"
    command = ["palette", str(photos), "--out", str(out), "--colours", "64", "--side", "32"]
    assert mimbench.main(command) == 0
    said = capsys.readouterr()
    assert "64 colours" in said.out
    assert f"unreadable image skipped: {photos / 'broken.png'}" in said.err
    first = out.read_bytes()
    assert mimbench.main(command) == 0
    assert out.read_bytes() == first, "the same seed, the same palette"
    assert len(set(read_palette(out).colours)) == 64
    assert read_palette(out).channels == 3

    target = f"target={{kind: colour_clusters, palette: '{out}', resolution_px: 8}}"
    assert mimbench.main([*pretrain_command, target, "--runs", str(tmp_path / "one")]) == 0
    record = record_of(only_run(tmp_path / "one"))
    assert record.status == "completed"

    moved = out.rename(tmp_path / "moved.json")
    runs = ["--runs", str(tmp_path / "one")]
    assert mimbench.main([*pretrain_command, target.replace(str(out), str(moved)), *runs]) == 0
    assert "already done" in capsys.readouterr().out, "where it lies does not change what the run is"
    moved.write_bytes(first.replace(b'"seed": 0', b'"seed": 1'))
    assert mimbench.main([*pretrain_command, target.replace(str(out), str(moved)), *runs]) == 0
    assert len(list((tmp_path / "one").iterdir())) == 2, "what it holds does"


def test_too_many_colours_are_refused(digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Grey scans of 8 bits have at most 256 colours."""
    command = ["palette", str(digits / "unlabelled"), "--out", str(tmp_path / "palette.json"), "--images", "20"]
    assert mimbench.main(command) == mimbench.WRONG
    assert "--colours = 512" in capsys.readouterr().err
    assert mimbench.main([*command, "--channels", "1", "--colours", "16"]) == 0
    assert read_palette(tmp_path / "palette.json").channels == 1


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"\x80\x04]", "file: Invalid JSON"),
        (b"{}", "colours: Field required"),
        (
            json.dumps({"colours": [[0.1], [7]], "images": 1, "data": "", "side_px": 1, "seed": 0}).encode(),
            "colours.1.0",
        ),
        (
            json.dumps({"colours": [[0.1], [0.2, 0.3]], "images": 1, "data": "", "side_px": 1, "seed": 0}).encode(),
            "equally many",
        ),
    ],
)
def test_a_file_that_is_no_palette_is_refused(tmp_path: Path, content: bytes, word: str) -> None:
    file = tmp_path / "palette.json"
    file.write_bytes(content)
    with pytest.raises(UserError, match=word):
        read_palette(file)


@special_files
def test_what_is_no_ordinary_file_is_named_and_skipped(
    photos: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = put(photos / "1.png", kind)
    with never_waiting():
        drawn = draw_pixels([photos / "0.png", photos / "1.png"], "RGB", 32, seed=0)
    assert drawn.shape == (256, 3)
    assert f"unreadable image skipped: {photos / '1.png'}: {words}" in capsys.readouterr().err


def test_a_picture_of_too_many_pixels_is_named_and_skipped(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = put_huge(photos / "1.png").partition(": ")[2]
    assert draw_pixels([photos / "0.png", photos / "1.png"], "RGB", 32, seed=0).shape == (256, 3)
    assert f"unreadable image skipped: {photos / '1.png'}: {words}" in capsys.readouterr().err
