"""Another window, patch or number of channels by recipe: loaded whole, trained, exported as what it then is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import mimbench
from benchmarks.encoders import Architecture, Normalisation, read_manifest
from benchmarks.runs.record import RunRecord
from tests.support.runs import only_run, record_of
from tests.transfer.checkpoint.encoders import SMALL, randomised
from transfer.checkpoint.foreign import read_foreign
from transfer.classification.recipe import FinetuneRecipe
from transfer.encoder.dense import build_encoder
from transfer.encoder.encoder_plan import adapted

TABLE = "layers.0.blocks.0.attn.relative_position_bias_table"


def theirs(folder: Path, **arguments: Any) -> Path:
    path = folder / "theirs.safetensors"
    save_file(randomised(SMALL["swin"].with_arguments(**arguments)).state_dict(), path)
    return path


def transferred(command: list[str], encoder: Path, folder: Path, *more: str) -> tuple[RunRecord, Path]:
    whole = [*command, "--encoder", str(encoder), "--stage", "supervised", "--runs", str(folder), *more]
    assert mimbench.main(whole) == 0
    run = only_run(folder)
    record = record_of(run)
    assert record.load_report is not None
    assert record.load_report.coverage_percent == 100
    return record, run / "encoder"


def resized(record: RunRecord) -> dict[str, tuple[tuple[int, ...], tuple[int, ...], str]]:
    assert record.load_report is not None
    return {one.name: (one.from_shape, one.to_shape, one.mode) for one in record.load_report.resized}


def test_colour_to_grey(transfer_command: list[str], tmp_path: Path) -> None:
    """The whole way, and once more from the export, which is a grey encoder then."""
    record, encoder = transferred(transfer_command, theirs(tmp_path), tmp_path / "runs", "in_chans=1")
    assert resized(record)["patch_embed.proj.weight"] == ((32, 3, 4, 4), (32, 1, 4, 4), "channels-summed")
    manifest = read_manifest(encoder)
    assert manifest.architecture.arguments["in_chans"] == 1
    assert manifest.mean == pytest.approx([0.299 * 0.485 + 0.587 * 0.456 + 0.114 * 0.406])
    assert manifest.std == pytest.approx([0.299 * 0.229 + 0.587 * 0.224 + 0.114 * 0.225])
    assert load_file(encoder / "encoder.safetensors")["patch_embed.proj.weight"].shape == (32, 1, 4, 4)
    again = [*transfer_command, "--encoder", str(encoder), "--runs", str(tmp_path / "again"), "in_chans=3"]
    assert mimbench.main(again) == 0
    back = record_of(only_run(tmp_path / "again"))
    assert resized(back)["patch_embed.proj.weight"][2] == "channels-repeated"
    assert read_manifest(only_run(tmp_path / "again") / "encoder").mean == pytest.approx([manifest.mean[0]] * 3)


def test_greys_mean_is_that_of_the_image_that_pillow_turns_grey() -> None:
    torch.manual_seed(0)
    colours = torch.randint(0, 256, (64, 64, 3), dtype=torch.uint8)
    colours[..., 0] //= 2
    grey = torch.tensor(np.array(Image.fromarray(colours.numpy()).convert("L"))) / 255
    mean = tuple(float(colours[..., c].double().mean() / 255) for c in range(3))
    assert Normalisation(mean, (1.0,) * 3).for_channels(1).mean[0] == pytest.approx(float(grey.mean()), abs=2e-3)
    assert Normalisation(mean, mean).for_channels(3) == Normalisation(mean, mean)


def test_another_patch(transfer_command: list[str], tmp_path: Path) -> None:
    record, encoder = transferred(
        transfer_command, theirs(tmp_path), tmp_path / "runs", "patch_size_px=2", "in_chans=1", "image_size_px=32"
    )
    assert resized(record)["patch_embed.proj.weight"] == (
        (32, 3, 4, 4),
        (32, 1, 2, 2),
        "channels-summed, pseudo-inverse",
    )
    manifest = read_manifest(encoder)
    assert (manifest.patch_size_px, manifest.architecture.arguments["patch_size"]) == (2, 2)


def test_patches_must_fill_the_image(
    transfer_command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [*transfer_command, "--encoder", "random:vit_tiny_patch16_224", "--runs", str(tmp_path), "layer_decay=1"]
    assert mimbench.main([*command, "patch_size_px=7"]) == mimbench.WRONG
    said = capsys.readouterr().err
    assert "image_size_px = 32" in said
    assert "a multiple of the patch size (7 px)" in said


def test_rectangular_windows(transfer_command: list[str], tmp_path: Path) -> None:
    """Square to 4 x 8 by recipe; the export says so, loads again, and its dense features are its own blocks'."""
    record, encoder = transferred(
        transfer_command, theirs(tmp_path), tmp_path / "runs", "window_size=[4,8]", "image_size_px=64"
    )
    assert resized(record)[TABLE] == ((49, 2), (7 * 15, 2), "geometric-cubic")
    manifest = read_manifest(encoder)
    assert (manifest.window_size, manifest.architecture.arguments["window_size"]) == ((4, 8), [4, 8])
    again = [*transfer_command, "--encoder", str(encoder), "--runs", str(tmp_path / "again"), "image_size_px=64"]
    assert mimbench.main(again) == 0
    report = record_of(only_run(tmp_path / "again")).load_report
    assert report is not None
    assert (report.coverage_percent, report.resized) == (100, ())


def test_dense_features_of_rectangular_windows_are_timms_where_it_is_right() -> None:
    """At 128 px every map (32, 16, 8 and 4 a side) is larger than, or one of, the windows; timm clips the last one."""
    architecture = SMALL["swin"].with_arguments(window_size=[2, 4], img_size=128)
    encoder = build_encoder(architecture, shift_single_windows=False).eval()
    images = torch.randn(1, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        ours = encoder(images)[-1]
        timms = encoder.backbone.forward_intermediates(images, indices=[3], norm=False, intermediates_only=True)[0]
    assert (ours - timms).abs().max() < 1e-5


@pytest.mark.parametrize(("given", "words"), [("[4,8,4]", "window_size"), ("0", "window_size")])
def test_a_window_is_one_number_or_two(
    transfer_command: list[str], capsys: pytest.CaptureFixture[str], given: str, words: str
) -> None:
    assert mimbench.main([*transfer_command, "--encoder", "random:digits_swin", f"window_size={given}"]) == 2
    assert words in capsys.readouterr().err


def test_swinv2_keeps_the_windows_its_offsets_are_measured_in() -> None:
    """microsoft's 12to16_192to256 and 12to24_192to384: PRETRAINED_WINDOW_SIZES [12, 12, 12, 6]."""
    source = Architecture(name="swinv2_base_window12_192")
    for window, size in ((16, 256), (24, 384)):
        changed = adapted(source, _sizes(window, size))
        assert changed.arguments == {"window_size": window, "pretrained_window_sizes": [12, 12, 12, 6]}
        official = timm.create_model(f"swinv2_base_window12to{window}_192to{size}", num_classes=0, depths=(1, 1, 1, 1))
        ours = timm.create_model(changed.name, num_classes=0, img_size=size, depths=(1, 1, 1, 1), **changed.arguments)
        for mine, theirs_ in zip(ours.layers, official.layers, strict=True):
            table = theirs_.blocks[0].attn.relative_coords_table
            assert mine.blocks[0].attn.relative_coords_table.equal(table)
    assert adapted(source, _sizes(None, 192)) == source
    assert adapted(source, _sizes(16, 256), window_assumed=True).arguments == {"window_size": 16}
    assert adapted(adapted(source, _sizes(16, 256)).at_size(256), _sizes(24, 384)).arguments[
        "pretrained_window_sizes"
    ] == [12, 12, 12, 6]


def _sizes(window: int | None, image_size_px: int) -> FinetuneRecipe:
    data = {"epochs": 1, "batch_size": 2, "schedule": {"base_lr": 1, "warmup_lr": 1, "min_lr": 1, "warmup_epochs": 0}}
    return FinetuneRecipe.model_validate(
        {"image_size_px": image_size_px, "window_size": window, "data": {}, "training": data}
    )


def test_a_swinv2_transfer_with_layer_decay_and_another_window(transfer_command: list[str], tmp_path: Path) -> None:
    path = tmp_path / "theirs.safetensors"
    model = randomised(SMALL["swinv2"])
    tables = {name: buffer for name, buffer in model.named_buffers() if name.endswith("relative_coords_table")}
    save_file({**model.state_dict(), **tables}, path)
    assert read_foreign(path).inferred.window_size == 4
    _, encoder = transferred(
        transfer_command, path, tmp_path / "runs", "window_size=8", "image_size_px=128", "layer_decay=0.9"
    )
    assert read_manifest(encoder).architecture.arguments["pretrained_window_sizes"] == [4, 4, 4, 2]
