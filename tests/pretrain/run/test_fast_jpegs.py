"""The loader's fast mode: the exact mode's crops of nearly its pixels, and its very results where that cannot be."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw
from torch import Tensor

import mimbench
from benchmarks.config import load_recipe
from benchmarks.data.image_source import ImageFiles
from benchmarks.engine.samples.loaders import SampleKey, StepBatches, training_loader
from pretrain.recipe import PretrainRecipe
from pretrain.run.crops import CroppedPictures
from tests.support.huge_pictures import put_huge

SIZE = 192
GREY = "encoder={name: swin_base_window6, arguments: {in_chans: 1}}"


def photograph(seed: int, width: int, height: int) -> Image.Image:
    """Noise with the spectrum of photographs (amplitudes fall with the frequency), hard edges, letters, and grain."""
    random = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None])
    frequency[0, 0] = 1
    noise = random.normal(size=(3, height, width))
    pink = np.fft.ifft2(np.fft.fft2(noise) / frequency).real
    values = (pink[0] + 0.4 * pink).transpose(1, 2, 0)
    image = Image.fromarray((values / values.std() * 50 + 120).clip(0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for _ in range(12):
        corners = [(int(random.integers(width)), int(random.integers(height))) for _ in range(4)]
        draw.polygon(corners, fill=tuple(random.integers(0, 256, 3).tolist()))
        draw.text(corners[0], "letters 0123", fill=tuple(random.integers(0, 256, 3).tolist()))
    grained = np.asarray(image) + random.normal(0, 4, (height, width, 3))
    return Image.fromarray(grained.clip(0, 255).astype(np.uint8))


def both_modes(files: list[Path], *overrides: str) -> tuple[CroppedPictures, CroppedPictures]:
    """The samples of the exact and of the fast mode."""
    source, found = ImageFiles(files[0].parent, files), []
    for mode in ("exact", "fast"):
        changes = [f"data.decode={mode}", "data.mean=[0.5]", "data.std=[0.5]", *overrides]
        recipe = load_recipe(PretrainRecipe, "pretrain", "simmim_swin_base_192_100ep", changes).config
        found.append(CroppedPictures(recipe.data, SIZE, recipe.encoder.in_chans, source, 5))
    exact, fast = found
    return exact, fast


def crops(samples: CroppedPictures, epochs: int = 4) -> Tensor:
    """The crops of all pictures in some epochs, [N, S, S, C] in levels of 255."""
    keys = [SampleKey(position, epoch) for epoch in range(epochs) for position in range(len(samples))]
    return samples.collate([samples[key] for key in keys]).images.double()


def differences(files: list[Path], *overrides: str) -> tuple[float, float]:
    """The mean absolute difference of the two modes' crops, and how far the mean of any crop moves."""
    exact, fast = map(crops, both_modes(files, *overrides))
    return (fast - exact).abs().mean().item(), (fast - exact).mean(dim=(1, 2, 3)).abs().max().item()


def written(folder: Path, sizes: list[tuple[int, int]], **settings: bool | int) -> list[Path]:
    files = [folder / f"{number}.jpg" for number in range(len(sizes))]
    for number, (file, size) in enumerate(zip(files, sizes, strict=True)):
        photograph(number, *size).save(file, quality=90, **settings)
    return files


@pytest.mark.parametrize("overrides", [[], [GREY]], ids=["colours", "grey"])
def test_what_is_decoded_whole_differs_by_the_rounding_of_its_resizing(tmp_path: Path, overrides: list[str]) -> None:
    """Crops of these sizes are less than three quarters of what half the picture would have to have."""
    files = written(tmp_path, [(400, 300), (300, 400), (192, 192), (70, 500), (30, 20)])
    mean, moved = differences(files, *overrides)
    assert (mean < 0.05, moved < 0.1) == (True, True), (mean, moved)


@pytest.mark.parametrize(
    ("size", "most"), [((500, 375), 6.0), ((375, 500), 6.0), ((640, 480), 4.0), ((1200, 900), 5.0)]
)
def test_what_is_decoded_reduced_differs_within_the_stated_bounds(
    tmp_path: Path, size: tuple[int, int], most: float
) -> None:
    mean, moved = differences(written(tmp_path, [size] * 2))
    assert (0.1 < mean < most, moved < 0.5) == (True, True), (mean, moved)


def test_boxes_and_flips_are_those_of_the_exact_mode_to_a_pixel(tmp_path: Path) -> None:
    """Red says the column and green the row of a pixel in steps of half a level: two pixels are one level."""
    rows, columns = np.mgrid[:375, :500]
    Image.fromarray(np.dstack([columns / 2, rows / 2, 0 * rows]).astype(np.uint8)).save(tmp_path / "0.png")
    with Image.open(tmp_path / "0.png") as image:
        image.save(tmp_path / "1.jpg", quality=100, subsampling=0)
    exact, fast = both_modes([tmp_path / "1.jpg"])
    for one, other in zip(crops(exact, 24), crops(fast, 24), strict=True):
        assert (one - other)[..., :2].abs().mean() < 1
    flipped = {bool(crop[0, 0, 0] > crop[0, -1, 0]) for crop in crops(fast, 24)}
    assert flipped == {True, False}


def test_reduced_pictures_keep_contrast_and_have_nine_tenths_of_the_sharpness(tmp_path: Path) -> None:
    exact, fast = map(crops, both_modes(written(tmp_path, [(500, 375)] * 4)))
    assert 0.98 < (fast.std() / exact.std()).item() < 1.02
    sharpness = [images.diff(dim=1).abs().mean() + images.diff(dim=2).abs().mean() for images in (exact, fast)]
    assert 0.88 < (sharpness[1] / sharpness[0]).item() < 1.02


def test_progressive_files_are_decoded_fast_too(tmp_path: Path) -> None:
    mean, moved = differences(written(tmp_path, [(500, 375)] * 2, progressive=True))
    assert (0.1 < mean < 6, moved < 0.5) == (True, True), (mean, moved)


def test_all_other_files_have_the_bits_of_the_exact_mode(tmp_path: Path) -> None:
    picture = photograph(0, 500, 375)
    turned = Image.Exif()
    turned[0x0112] = 6
    picture.save(tmp_path / "turned.jpg", exif=turned)
    picture.convert("CMYK").save(tmp_path / "cmyk.jpg")
    picture.save(tmp_path / "named_as_another.jpg", "PNG")
    picture.convert("P").save(tmp_path / "palette.gif")
    picture.save(tmp_path / "webp.webp")
    sound = io.BytesIO()
    picture.save(sound, "JPEG", quality=90)
    flawed = bytearray(sound.getvalue())
    flawed[len(flawed) // 2 : len(flawed) // 2 + 4] = b"\xff\xd9\xff\xd9"  # ends early, which Pillow lets pass
    (tmp_path / "flawed.jpg").write_bytes(flawed)
    exact, fast = both_modes(sorted(tmp_path.iterdir()))
    for position in range(len(exact)):
        one, other = (samples[SampleKey(position, 0)][1] for samples in (exact, fast))
        assert one.unreadable == other.unreadable
        assert one.image is not None
        assert other.image is not None
        assert one.image.equal(other.image), exact.source.name(position)


def test_damaged_files_are_named_with_the_same_words(tmp_path: Path) -> None:
    """Whatever bytes of a file are damaged, and wherever it ends."""
    sound = io.BytesIO()
    photograph(0, 90, 70).save(sound, "JPEG", quality=90)
    random = np.random.default_rng(0)
    for number in range(120):
        data = bytearray(sound.getvalue())
        for place in random.integers(0, len(data) if number % 2 else 700, 1 + number % 5):
            data[place] = random.integers(256)
        kept = len(data) if number % 3 else int(random.integers(len(data)))
        (tmp_path / f"{number:03}.jpg").write_bytes(data[:kept])
    put_huge(tmp_path / "huge.jpg")
    (tmp_path / "sound.jpg").write_bytes(sound.getvalue())
    exact, fast = both_modes(sorted(tmp_path.iterdir()), "data.max_unreadable=0")
    said = [[samples[SampleKey(at, 0)][1].unreadable for at in range(len(samples))] for samples in (exact, fast)]
    assert said[0] == said[1]
    assert sum(map(bool, said[0])) > 20
    assert not all(said[0])


def test_neither_workers_nor_a_resume_change_what_is_loaded(tmp_path: Path) -> None:
    _, fast = both_modes(written(tmp_path, [(500, 375), (192, 200), (384, 400)]))
    alone, helped, resumed = (
        list(training_loader(fast, StepBatches(3, 3, 4, start, 5), workers, False))
        for workers, start in ((0, 0), (2, 0), (0, 2))
    )
    assert all(one.images.equal(other.images) for one, other in zip(alone, helped, strict=True))
    assert all(one.images.equal(other.images) for one, other in zip(alone[2:], resumed, strict=True))


def test_without_its_library_the_mode_is_refused_with_the_extra_that_has_it(
    pretrain_command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "simplejpeg", None)
    command = [*pretrain_command, "--runs", str(tmp_path / "runs"), "data.decode=fast"]
    assert mimbench.main(command) == mimbench.WRONG
    assert "pip install 'mimbench[jpeg]'" in capsys.readouterr().err
    assert not list((tmp_path / "runs").rglob("metrics.jsonl"))


def test_only_the_fast_mode_changes_what_a_run_is() -> None:
    without, exact, fast = (
        load_recipe(PretrainRecipe, "pretrain", "digits_simmim", changes).config.identity_digest()
        for changes in ([], ["data.decode=exact"], ["data.decode=fast"])
    )
    assert without == exact != fast
