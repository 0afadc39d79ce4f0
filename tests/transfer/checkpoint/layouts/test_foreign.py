"""Foreign checkpoints from the file to the loaded encoder, and encoders out again: the whole way, as a user goes it."""

from __future__ import annotations

import json
import os
import shutil
from fnmatch import fnmatch
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

import mimbench
from benchmarks.encoders import Architecture
from benchmarks.errors import UserError
from tests.support.libraries import library
from tests.support.random_weights import randomise
from tests.support.runs import only_run, record_of
from tests.transfer.checkpoint import swin_zoo, vit_files
from tests.transfer.checkpoint.encoders import SMALL, export, features, loaded, randomised
from transfer.checkpoint.foreign import read_foreign
from transfer.checkpoint.layouts.known import LAYOUTS
from transfer.commands.targets import TARGETS
from transfer.sources.hub import download
from transfer.sources.opened import open_encoder


@pytest.mark.parametrize("name", [*swin_zoo.LISTINGS, *vit_files.LISTINGS])
def test_one_layout_of_all_families_recognises_a_listing(name: str) -> None:
    swin = name in swin_zoo.LISTINGS
    shapes = swin_zoo.listing(name) if swin else vit_files.LISTINGS[name].shapes()
    expected = swin_zoo.LISTINGS[name] if swin else vit_files.LISTINGS[name].layout
    assert [layout.name for layout in LAYOUTS if layout.recognises(shapes)] == [expected]


@pytest.mark.parametrize(
    ("family", "target"),
    [(family, target) for target, to in TARGETS.items() for family in to.layouts if family in SMALL],
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_convert_and_back_is_bit_equal(tmp_path: Path, family: str, target: str, suffix: str) -> None:
    model = export(SMALL[family], tmp_path / "encoder")
    out = tmp_path / f"out{suffix}"
    command = ["checkpoint", "convert", str(tmp_path / "encoder"), "--to", target, "--out", str(out)]
    assert mimbench.main(command) == 0
    back = read_foreign(out)
    expected = model.state_dict()
    assert {name for name in expected if name not in back.weights} == set()
    assert all(back.weights[name].equal(tensor) for name, tensor in expected.items())
    about = json.loads((tmp_path / f"out{suffix}.json").read_text())
    assert (about["format"], about["encoder_sha256"]) == (target, open_encoder(tmp_path / "encoder").sha256)


@pytest.mark.parametrize("target", [target for target, to in TARGETS.items() if "swinv2" in to.layouts])
def test_a_converted_swinv2_keeps_its_features(tmp_path: Path, target: str) -> None:
    """Its tensors show neither window nor image size; FILE.json does, as long as it is this file's."""
    model = export(SMALL["swinv2"], tmp_path / "encoder")
    out = tmp_path / "out.safetensors"
    assert mimbench.main(["checkpoint", "convert", str(tmp_path / "encoder"), "--to", target, "--out", str(out)]) == 0
    back = read_foreign(out)
    assert (back.inferred.window_size, back.inferred.image_size_px, back.stage) == (4, 64, "self-supervised")
    assert features(loaded(out)).equal(features(model))
    out.with_name("out.safetensors.json").write_text('{"sha256": "of another file", "architecture": "x"}')
    assert "window_size" in read_foreign(out).inferred.assumed


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("swinv2_tiny_window8_256", SMALL["swinv2"].arguments),
        ("vit_tiny_patch16_224", {"embed_dim": 160, "depth": 2, "num_heads": 5}),
    ],
)
def test_timms_config_tells_windows_and_heads(tmp_path: Path, name: str, arguments: dict[str, object]) -> None:
    """The config.json that timm itself writes for its hub; the size of the head is not the encoder's."""
    model = randomised(Architecture.model_validate({"name": name, "arguments": arguments}))
    timm.models.save_for_hf(model, tmp_path, model_args={**arguments, "img_size": 64, "num_classes": 0})
    assert features(loaded(tmp_path)).equal(features(model))


def test_a_swinv2_of_unknown_window_is_not_transferred(
    transfer_command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "theirs.safetensors"
    save_file(randomised(SMALL["swinv2"]).state_dict(), path)
    runs = tmp_path / "runs"
    command = [*transfer_command, "image_size_px=64", "--encoder", str(path), "--runs", str(runs), "--stage"]
    assert mimbench.main([*command, "supervised"]) == mimbench.WRONG
    assert "add window_size=N" in capsys.readouterr().err
    assert mimbench.main([*command, "supervised", "window_size=4", "layer_decay=1.0"]) == 0
    report = record_of(only_run(runs)).load_report
    assert report is not None
    assert not any("windows and image size" in note for note in report.notes), "the recipe tells the window"
    assert f"note: {report.notes[0]}" in capsys.readouterr().err


@pytest.mark.parametrize("family", SMALL)
def test_plain_timm_loads_what_is_converted_for_it(tmp_path: Path, family: str) -> None:
    model = export(SMALL[family], tmp_path / "encoder")
    out = tmp_path / "out.safetensors"
    assert mimbench.main(["checkpoint", "convert", str(tmp_path / "encoder"), "--to", "timm", "--out", str(out)]) == 0
    about = json.loads((tmp_path / "out.safetensors.json").read_text())
    plain = timm.create_model(about["architecture"], num_classes=0, **about["arguments"])
    plain.load_state_dict(load_file(out), strict=True)
    assert features(plain).equal(features(model))


def test_a_simmim_file_is_read_whole_and_its_stage_is_known(tmp_path: Path) -> None:
    model = randomised(SMALL["swin"])
    tensors = {f"encoder.{name}": tensor for name, tensor in model.state_dict().items()}
    tensors |= {"encoder.mask_token": torch.zeros(1, 1, 32), "decoder.0.weight": torch.zeros(3072, 256, 1, 1)}
    path = tmp_path / "a file of any name"
    torch.save({"model": tensors, "epoch": 99, "config": {"TRAIN": {"EPOCHS": 100}}}, path)
    encoder = read_foreign(path)
    assert (encoder.stage, encoder.epochs, encoder.layout.family) == ("self-supervised", 100, "swin")
    assert features(loaded(path, 64)).equal(features(model))


def test_transfer_from_a_foreign_file(transfer_command: list[str], tmp_path: Path) -> None:
    path = tmp_path / "theirs.safetensors"
    save_file({f"backbone.{name}": tensor for name, tensor in randomised(SMALL["swin"]).state_dict().items()}, path)
    runs = tmp_path / "runs"
    command = [*transfer_command, "image_size_px=64", "--encoder", str(path), "--runs", str(runs)]
    assert mimbench.main(command) == mimbench.WRONG, "nothing in the file tells its stage"
    assert mimbench.main([*command, "--stage", "supervised"]) == 0
    record = record_of(only_run(runs))
    assert record.encoder is not None
    assert record.load_report is not None
    assert (record.encoder.init_stage, record.encoder.label) == ("supervised", "theirs")
    assert (record.load_report.coverage_percent, record.load_report.source_format) == (100, "timm-swin")


def test_a_malicious_file_runs_nothing_and_is_refused(
    transfer_command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    marker = tmp_path / "it ran"

    class Attack:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch '{marker}'",)

    torch.save({"model": Attack()}, tmp_path / "bad.pth")
    for command in (
        ["checkpoint", "inspect", str(tmp_path / "bad.pth")],
        [*transfer_command, "--encoder", str(tmp_path / "bad.pth"), "--runs", str(tmp_path / "runs")],
    ):
        assert mimbench.main(command) == mimbench.WRONG
        assert "the file asks to call posix.system: refused; nothing was run" in capsys.readouterr().err
    assert not marker.exists()


@pytest.mark.parametrize("kind", ["ViT", "Beit", "Swin", "Swinv2"])
def test_transformers_models_as_they_are_initialised_and_saved(tmp_path: Path, kind: str) -> None:
    """With transformers' own defaults, a LayerNorm eps of 1e-12 included, which only config.json states."""
    transformers = library("transformers", "transformers")
    swin = {"embed_dim": 32, "depths": [2, 2], "num_heads": [2, 4], "window_size": 4, "image_size": 64}
    vit = {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 256}
    vit["image_size"] = 64
    if kind == "Beit":
        vit |= {"use_relative_position_bias": True, "use_mask_token": True}
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**(swin if kind.startswith("Swin") else vit))
    theirs = getattr(transformers, f"{kind}Model")(config).eval()
    theirs.save_pretrained(tmp_path)
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = theirs(images).last_hidden_state
        ours = loaded(tmp_path, 64).eval().forward_features(images)  # type: ignore[operator]
    assert (ours.flatten(1, -2) - expected).abs().max() < 1e-5
    if kind == "Swinv2":
        inferred = read_foreign(tmp_path).inferred
        assert (inferred.image_size_px, inferred.window_size, inferred.notes) == (64, 4, ()), "as config.json says"


def test_lost_registers_are_missed_where_config_json_counts_them(tmp_path: Path) -> None:
    transformers = library("transformers", "transformers")
    size = {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 56, "patch_size": 14}
    theirs = transformers.Dinov2WithRegistersModel(transformers.Dinov2WithRegistersConfig(**size))
    theirs.save_pretrained(tmp_path)
    assert read_foreign(tmp_path).inferred.architecture.arguments["reg_tokens"] == 4
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors["embeddings.register_tokens"]
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match="register_tokens = 0"):
        read_foreign(tmp_path)


def test_a_repository_of_the_hub_through_its_cache(
    transfer_command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub's real cache layout, filled by transformers itself: the same code path, without a network."""
    transformers = library("transformers", "transformers")
    folder = tmp_path / "hub" / "models--someone--tiny-swin"
    config = transformers.SwinConfig(embed_dim=32, depths=[2, 2], num_heads=[2, 4], window_size=4, image_size=32)
    randomise(transformers.SwinModel(config)).save_pretrained(folder / "snapshots" / ("0" * 40))
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("0" * 40)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    command = [*transfer_command, "--encoder", "hf-hub:someone/tiny-swin", "--runs", str(tmp_path / "runs")]
    assert mimbench.main([*command, "--stage", "supervised"]) == 0
    record = record_of(only_run(tmp_path / "runs"))
    assert record.load_report is not None
    assert (record.load_report.coverage_percent, record.load_report.source_format) == (100, "huggingface-swin")


@pytest.mark.parametrize("kind", ["ViT", "Swinv2"])
def test_what_is_fetched_from_a_hub_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Only the files that `download` asks for arrive; heads 32 wide and windows of 4 are not what tensors suggest."""
    transformers = library("transformers", "transformers")
    swin = {"embed_dim": 32, "depths": [2, 2], "num_heads": [2, 4], "window_size": 4, "image_size": 64}
    vit = {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 256}
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**(swin if kind == "Swinv2" else {**vit, "image_size": 64}))
    theirs = getattr(transformers, f"{kind}Model")(config).eval()
    theirs.save_pretrained(tmp_path / "repository")

    def fetch(_name: str, allow_patterns: list[str]) -> str:
        for file in (tmp_path / "repository").iterdir():
            if any(fnmatch(file.name, pattern) for pattern in allow_patterns):
                (tmp_path / "fetched").mkdir(exist_ok=True)
                shutil.copy(file, tmp_path / "fetched")
        return str(tmp_path / "fetched")

    monkeypatch.setattr("transfer.sources.hub.snapshot_download", fetch)
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = theirs(images).last_hidden_state
        ours = loaded(download("someone/model"), 64).eval().forward_features(images)  # type: ignore[operator]
    assert (ours.flatten(1, -2) - expected).abs().max() < 1e-5


def test_list_formats(capsys: pytest.CaptureFixture[str]) -> None:
    assert mimbench.main(["list", "formats"]) == 0
    text = capsys.readouterr().out
    assert all(layout.name in text for layout in LAYOUTS)
    assert all(target in text for target in TARGETS)
