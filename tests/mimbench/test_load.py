"""`mimbench.load` gives what the commands say of the same file: every layout, exports, runs, random weights."""

from __future__ import annotations

import json
import os
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import mimbench
from tests.support import small
from tests.transfer.checkpoint.encoders import SMALL as SMALL_EXPORTS
from tests.transfer.checkpoint.encoders import export
from tests.transfer.checkpoint.samples import BY_NAME, SAMPLES, SMALL, Sample, sample

INSPECTED = ("huggingface-dinov2", "microsoft-swin", "resnet", "timm-clip")
"""Layouts whose whole inspection is compared, which tries what every task would load."""
SMALLER_PX = {"resnet": 64, "convnext": 64, "torchvision": 64, "sam2": 256}
"""The side of images by family, where the encoder's own is only slow."""


def _written(one: Sample, folder: Path) -> tuple[Path, list[str]]:
    """Write a sample's file; return it, and the options by which commands are given what a person has to state."""
    path, stated = folder / "encoder.safetensors", one.stated
    tensors = {name: tensor.contiguous().clone() for name, tensor in one.without("nothing").items()}
    save_file(tensors, path)
    if BY_NAME[one.layout].family == "swinv2":
        stated = SMALL["swinv2"]  # whose windows no tensor shows
    if stated is None:
        return path, []
    (folder / "stated.yaml").write_text(stated.model_dump_json())
    return path, ["--architecture", str(folder / "stated.yaml")]


@pytest.mark.parametrize("layout", BY_NAME)
def test_a_file_of_every_layout_has_the_features_that_the_command_computes(
    layout: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = next(name for name in SAMPLES if sample(name).layout == layout)
    path, stated = _written(sample(name), tmp_path)
    encoder = mimbench.load(
        path,
        architecture=stated[-1] if stated else None,
        image_size_px=SMALLER_PX.get(BY_NAME[layout].family),
        allow_implausible_weights=True,
    )
    assert (encoder.source_format, encoder.report.coverage_percent) == (layout, 100)
    images = torch.randn(2, encoder.channels, *2 * [encoder.image_size_px], generator=torch.manual_seed(0))
    pooled = encoder.pooled(images, normalised=True)
    assert pooled.shape == (2, encoder.width)
    np.savez(tmp_path / "features.npz", images=images.numpy(), features=pooled.numpy())
    against = ["--against", str(tmp_path / "features.npz"), "--tolerance", "1e-6"]
    assert mimbench.main(["checkpoint", "verify", str(path), *against, *stated]) == 0
    assert "differ by at most 0.0e+00 of their size" in capsys.readouterr().out


@pytest.mark.parametrize("name", INSPECTED)
def test_what_is_known_of_a_file_is_what_inspect_says(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, stated = _written(sample(name), tmp_path)
    assert mimbench.main(["checkpoint", "inspect", str(path), "--json", *stated]) == 0
    said = json.loads(capsys.readouterr().out)
    encoder = mimbench.load(path, architecture=stated[-1] if stated else None, allow_implausible_weights=True)
    assert encoder.architecture.name == said["architecture"]
    assert encoder.architecture.arguments == said["arguments"]
    assert (encoder.source_format, encoder.sha256) == (said["format"], said["sha256"])
    assert said["image_size_px"] in (None, encoder.image_size_px)
    assert encoder.report.implausible == tuple(said["implausible"])
    if said["mean"] is not None:
        assert list(encoder.normalisation.mean) == pytest.approx(said["mean"])
        assert list(encoder.normalisation.std) == pytest.approx(said["std"])
    assert set(said["remarks"]) <= set(encoder.notes)


def test_pooled_features_of_a_run_are_those_that_a_transfer_keeps(
    simmim_run: Path, small_digits: Path, tmp_path: Path
) -> None:
    """Nearest neighbours keep the features of every image on disk: the two ways to them share the files' pixels."""
    command = ["transfer", "digits", "--recipe", "digits_knn", "--encoder", str(simmim_run), "k=5", "other_k=[]"]
    kept = tmp_path / "features"
    more = [f"data.root={small_digits}", f"features.folder={kept}", "--runs", str(tmp_path / "runs")]
    assert mimbench.main([*command, *more]) == 0
    vectors = torch.cat([load_file(path)["values"] for path in kept.glob("*/output.mean/*.safetensors")])
    encoder = mimbench.load(simmim_run)
    assert encoder.image_size_px == 32
    pictures = encoder.read(sorted((small_digits / "test").glob("*/*")), crop=1.0)
    found = encoder.pooled(pictures, pooling="mean")
    distances = torch.cdist(found, vectors, compute_mode="donot_use_mm_for_euclid_dist")
    assert distances.min(dim=1).values.max() < 1e-4 * vectors.norm(dim=1).mean()
    assert (distances.min(dim=1).values < distances.median(dim=1).values / 10).all(), "no other image is as near"


@pytest.mark.parametrize("family", ["swin", "vit"])
def test_maps_are_those_of_the_model_and_its_strides(family: str, tmp_path: Path) -> None:
    """Where nothing is padded, a plain transformer's map holds its last block's tokens, row by row."""
    model = export(SMALL_EXPORTS[family], tmp_path)
    encoder = mimbench.load(tmp_path)
    images = torch.rand(2, 3, 96, 64)
    maps = encoder.features(images)
    assert tuple(maps) == encoder.strides == ((4, 8, 16, 32) if family == "swin" else (16,))
    assert all(each.shape[2:] == (96 // stride, 64 // stride) for stride, each in maps.items())
    if family == "vit":
        square, before = images[:, :, :64], []
        model.norm.register_forward_pre_hook(lambda _, inputs: before.append(inputs[0]))  # type: ignore[union-attr]
        model.eval().forward_features((square - 0.5) / 0.5)  # type: ignore[operator]
        tokens = encoder.features(square)[16].flatten(2).transpose(1, 2)
        torch.testing.assert_close(tokens, before[0][:, 1:], rtol=1e-4, atol=1e-5)
    assert not any(each.requires_grad for each in maps.values())


def test_images_are_bytes_or_numbers_from_0_to_1_and_normalised_once(tmp_path: Path) -> None:
    export(SMALL_EXPORTS["vit"], tmp_path)
    encoder = mimbench.load(tmp_path)
    whole = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    found = encoder.pooled(whole)
    torch.testing.assert_close(found, encoder.pooled(whole / 255))
    torch.testing.assert_close(found, encoder.pooled((whole / 255 - 0.5) / 0.5, normalised=True))
    with pytest.raises(mimbench.UserError, match="from 0 to 1"):
        encoder.pooled((whole / 255 - 0.5) / 0.5)
    with pytest.raises(mimbench.UserError, match="64 x 64 px"):
        encoder.pooled(whole[:, :, :32])
    with pytest.raises(mimbench.UserError, match=r"\[B, 3, H, W\]"):
        encoder.features(whole[0])
    for ask in (encoder.pooled, encoder.features):
        with pytest.raises(mimbench.UserError, match="at least one image"):
            ask(whole[:0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        torch.testing.assert_close(found, encoder.pooled((whole / 255).requires_grad_()))


def test_less_than_the_whole_encoder_is_refused_and_random_weights_are_named(tmp_path: Path) -> None:
    one = sample("huggingface-dinov2")
    save_file(
        {n: t.clone() for n, t in one.without("encoder.layer.0.norm1.weight").items()}, tmp_path / "f.safetensors"
    )
    with pytest.raises((mimbench.WorkFailed, mimbench.UserError), match="norm1"):
        mimbench.load(tmp_path / "f.safetensors")
    with pytest.raises(mimbench.UserError, match="check the path"):
        mimbench.load(tmp_path / "nothing.pth")
    encoder = mimbench.load(f"random:{small.SWIN}", image_size_px=32)
    assert (encoder.sha256, encoder.report.loaded) == (None, 0)
    assert "random weights" in repr(encoder)


def test_random_weights_whose_windows_fit_no_usual_size_say_which_sizes_do() -> None:
    with pytest.raises(mimbench.UserError, match=r"image_size_px = \(not given; timm builds 224\)") as caught:
        mimbench.load("random:swin_base_window6")
    (sizes,) = re.findall(r"image_size_px=(\d+ or \d+) \(the nearest", str(caught.value))
    assert sizes == "192 or 384"
    for px in map(int, sizes.split(" or ")):
        assert mimbench.load("random:swin_base_window6", image_size_px=px).image_size_px == px
    with pytest.raises(mimbench.UserError, match="image_size_px = 40\n"):
        mimbench.load(f"random:{small.SWIN}", image_size_px=40)


def test_pictures_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    encoder = mimbench.load(f"random:{small.SWIN}", image_size_px=32)
    whole = tmp_path / "whole.png"
    Image.new("RGB", (40, 30)).save(whole)
    for mode, name in (("CMYK", "cmyk.jpg"), ("I;16", "wide.png"), ("P", "palette.gif"), ("LA", "clear.png")):
        Image.new(mode, (40, 30)).save(tmp_path / name)
        assert encoder.read([whole, str(tmp_path / name)]).shape == (2, 3, 32, 32)
    (tmp_path / "empty.png").touch()
    (tmp_path / "broken.png").write_bytes(whole.read_bytes()[:60])
    (tmp_path / "page.jpg").write_text("<html>")
    os.mkfifo(tmp_path / "pipe.png")  # opening it would wait for ever
    for name in ("none.png", "empty.png", "broken.png", "page.jpg", "pipe.png", "."):
        path = tmp_path / name
        with pytest.raises(mimbench.UserError, match=f"image = {re.escape(str(path))}\n  rule:   an image that can be"):
            encoder.read([whole, path])


@pytest.mark.parametrize("pictures", [[], "one.png", Path("one.png"), None, [np.zeros((32, 32, 3))], np.zeros((2, 3))])
def test_what_is_no_list_of_pictures_is_refused(pictures: Any) -> None:
    encoder = mimbench.load(f"random:{small.SWIN}", image_size_px=32)
    with pytest.raises(mimbench.UserError, match=r"pictures = .*\n  rule:   a list of the paths of picture files"):
        encoder.read(pictures)
    for method in (encoder.pooled, encoder.features):
        with pytest.raises(mimbench.UserError, match=r"images = .*\n  rule:   a tensor \[B, 3, H, W\]"):
            method(pictures)


@pytest.mark.parametrize("crop", [0, -0.5, 1.5])
def test_a_crop_is_a_share(crop: float, tmp_path: Path) -> None:
    with pytest.raises(mimbench.UserError, match="crop = "):
        mimbench.load(f"random:{small.SWIN}", image_size_px=32).read([tmp_path / "any.png"], crop=crop)


def test_loading_leaves_the_callers_random_numbers_alone() -> None:
    torch.manual_seed(7)
    wanted = torch.rand(1)
    torch.manual_seed(7)
    mimbench.load(f"random:{small.SWIN}", image_size_px=32)
    assert torch.rand(1) == wanted
