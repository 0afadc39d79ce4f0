"""--architecture: what a person states against what the tensors show, as the command line shows it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import yaml
from safetensors.torch import load_file, save_file
from torch import nn

import mimbench
from benchmarks.encoders import find_architecture
from benchmarks.engine.backbone import build_backbone
from benchmarks.errors import UserError
from tests.support.runs import only_run, record_of
from tests.transfer.checkpoint.encoders import SMALL, export, features, loaded, randomised
from transfer.checkpoint.architecture.stated import state
from transfer.checkpoint.foreign import read_foreign

WIDTHS = {"embed_dim": 16, "depths": [1, 1, 1, 1], "num_heads": [1, 2, 4, 8]}
SWIN_T = "swin_tiny_patch4_window7_224"


def entry(folder: Path, name: str, **arguments: Any) -> str:
    """Write the YAML file of a user's own encoder, in the form of those in `recipes/encoders`."""
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump({"name": name, "arguments": arguments}))
    return str(path)


def saved(folder: Path, name: str, **arguments: Any) -> Path:
    """Save a file of a model's names and shapes, which is all that a statement is held against."""
    path = folder / "theirs.safetensors"
    with torch.device("meta"):
        model = timm.create_model(name, num_classes=0, **arguments)
    save_file({name: torch.zeros(tensor.shape) for name, tensor in model.state_dict().items()}, path)
    return path


def inspected(capsys: pytest.CaptureFixture[str], path: Path, architecture: str | None) -> dict[str, Any]:
    stated = [] if architecture is None else ["--architecture", architecture]
    assert mimbench.main(["checkpoint", "inspect", str(path), "--json", *stated]) == 0, capsys.readouterr().err
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def refused(capsys: pytest.CaptureFixture[str], path: Path, architecture: str) -> str:
    assert mimbench.main(["checkpoint", "inspect", str(path), "--architecture", architecture]) == mimbench.WRONG
    return " ".join(capsys.readouterr().err.split())


def test_a_statement_settles_swinv2s_window(
    transfer_command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is assumed any more: no note, no demand for window_size, and the right pretrained windows."""
    arguments = {**SMALL["swinv2"].arguments, "img_size": 64}
    path = tmp_path / "theirs.safetensors"
    save_file(randomised(SMALL["swinv2"]).state_dict(), path)
    mine = entry(tmp_path, SMALL["swinv2"].name, **arguments)
    assert "window_size" in inspected(capsys, path, None)["assumed"]
    found = inspected(capsys, path, mine)
    assert (found["window_size"], found["image_size_px"], found["assumed"]) == (4, 64, {})
    command = [*transfer_command, "--encoder", str(path), "--stage", "supervised", "--runs", str(tmp_path / "runs")]
    assert mimbench.main([*command, "image_size_px=64", "--architecture", mine]) == 0
    record = record_of(only_run(tmp_path / "runs"))
    assert record.encoder is not None
    assert record.encoder.architecture.arguments == arguments
    assert record.load_report is not None
    assert (record.load_report.coverage_percent, record.load_report.notes) == (100, ())
    assert "note:" not in capsys.readouterr().err


def test_a_statement_settles_a_vits_heads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = {"embed_dim": 96, "depth": 2, "num_heads": 4, "img_size": 64}
    model = randomised(state("vit_tiny_patch16_224").architecture.with_arguments(**arguments))
    path = tmp_path / "theirs.safetensors"
    save_file(model.state_dict(), path)
    assert mimbench.main(["checkpoint", "inspect", str(path)]) == mimbench.WRONG
    assert "or add --architecture" in capsys.readouterr().err
    mine = entry(tmp_path, "vit_tiny_patch16_224", **arguments)
    encoder = read_foreign(path, state(mine))
    again = build_backbone(encoder.inferred.architecture, None)
    again.load_state_dict(encoder.weights, strict=True)
    assert features(again).equal(features(model))


def test_what_a_library_calls_otherwise_is_loaded_by_its_name(tmp_path: Path) -> None:
    """CLIP's norm before the blocks is no part of a plain ViT; whether it has GELU or QuickGELU, no tensor shows."""
    arguments = {"embed_dim": 64, "depth": 2, "num_heads": 1, "img_size": 64}
    path = saved(tmp_path, "vit_base_patch16_clip_224", **arguments)
    mine = state(entry(tmp_path, "vit_base_patch16_clip_224", **arguments))
    with pytest.raises(UserError, match="QuickGELU"):
        read_foreign(path)
    read = read_foreign(path, mine)
    assert build_backbone(read.inferred.architecture, None).state_dict().keys() == read.weights.keys()


@pytest.mark.parametrize(
    ("name", "arguments", "architecture", "words"),
    [
        (
            SWIN_T,
            {},
            "swin_base_window6",
            [
                "--architecture = swin_base_window6",
                "depths: the file has (2, 2, 6, 2), swin_base_window6 has (2, 2, 18, 2)",
                "embed_dim: the file has 96, swin_base_window6 has 128",
                "num_heads: the file has (3, 6, 12, 24), swin_base_window6 has (4, 8, 16, 32)",
                "leave --architecture out",
            ],
        ),
        (SWIN_T, {}, "swinv2_tiny_window8_256", ["family: the file has Swin, swinv2_tiny_window8_256 has SwinV2"]),
        (SWIN_T, {"in_chans": 1}, SWIN_T, ["in_chans: the file has 1"]),
        (SWIN_T, {"patch_size": 2, "img_size": 112}, SWIN_T, ["patch_size: the file has 2"]),
        (SWIN_T, {"mlp_ratio": 3.0}, SWIN_T, ["mlp_width: the file has 288, swin_tiny_patch4_window7_224 has 384"]),
        (
            SWIN_T,
            {"qkv_bias": False},
            SWIN_T,
            ["layers.*.blocks.*.attn.qkv.bias: the file has no such tensor", "has (288,)"],
        ),
        ("vit_tiny_patch16_224", {}, "vit_tiny_patch16_resnet", ["Did you mean"]),
        ("vit_tiny_patch16_224", {}, "vit_small_patch16_224", ["embed_dim: the file has 192, vit_small_patch16_224"]),
        ("vit_tiny_patch16_224", {"depth": 3}, "vit_tiny_patch16_224", ["depth: the file has 3"]),
        ("vit_tiny_patch16_224", {}, "beit_base_patch16_224", ["family: the file has ViT, beit_base_patch16_224 has"]),
        ("vit_tiny_patch16_224", {}, "resnet18", ["family: the file has ViT, resnet18 has ResNet"]),
    ],
)
def test_a_disagreement_names_each_property(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    arguments: dict[str, Any],
    architecture: str,
    words: list[str],
) -> None:
    said = refused(capsys, saved(tmp_path, name, **arguments), architecture)
    assert [word for word in words if word not in said] == [], said


def test_heads_that_tensors_tell_must_agree(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Twice the heads on the same width: only the columns of the tables differ."""
    path = saved(tmp_path, SWIN_T, **WIDTHS)
    twice = {**WIDTHS, "num_heads": [2, 4, 8, 16]}
    said = refused(capsys, path, entry(tmp_path, SWIN_T, **twice))
    assert "num_heads: the file has (1, 2, 4, 8), mine has (2, 4, 8, 16)" in said
    assert inspected(capsys, path, entry(tmp_path, SWIN_T, **WIDTHS))["arguments"] == WIDTHS


def test_a_window_that_is_spelled_out_is_meant_and_one_of_timms_name_is_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = saved(tmp_path, SWIN_T, img_size=192, window_size=6)
    said = refused(capsys, path, entry(tmp_path, SWIN_T, window_size=7))
    assert "window_size: the file has (6, 6, 6, 6), mine has (7, 7, 7, 7)" in said
    found = inspected(capsys, path, SWIN_T)
    assert found["window_size"] == 6
    assert found["remarks"] == [f"window_size: as in the file; (7, 7, 7, 7) in {SWIN_T}"]
    model = timm.create_model(found["architecture"], num_classes=0, **found["arguments"])
    assert model.load_state_dict(read_foreign(path).weights, strict=True)


def test_a_vit_of_another_image_size_keeps_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = saved(tmp_path, "vit_tiny_patch16_384", depth=12)
    found = inspected(capsys, path, "vit_tiny_patch16_224")
    assert (found["image_size_px"], found["arguments"]) == (384, {"img_size": 384})
    assert found["remarks"] == ["img_size: as in the file; 224 in vit_tiny_patch16_224"]
    said = refused(capsys, path, entry(tmp_path, "vit_tiny_patch16_224", img_size=224))
    assert "img_size: the file has 384, mine has 224" in said


def test_agreement_is_silent_and_leaves_our_own_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As SimMIM's file: the mask of a shifted block shows 192 px, its tables the window of 6."""
    saved(tmp_path, "swin_base_patch4_window7_224", img_size=192, window_size=6)
    weights = load_file(tmp_path / "theirs.safetensors")
    path = tmp_path / "simmim.safetensors"
    save_file({**weights, "layers.0.blocks.1.attn_mask": torch.zeros(64, 36, 36)}, path)
    found = inspected(capsys, path, "swin_base_window6")
    assert (found["image_size_px"], found["window_size"], found["remarks"], found["assumed"]) == (192, 6, [], {})
    assert found["arguments"] == {**find_architecture("swin_base_window6").arguments, "img_size": 192}


def test_our_own_export_is_checked_by_its_manifest(
    transfer_command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export(SMALL["swin"], tmp_path / "encoder")
    command = [*transfer_command, "--encoder", str(tmp_path / "encoder"), "--runs", str(tmp_path / "runs")]
    assert mimbench.main([*command, "--architecture", SWIN_T]) == mimbench.WRONG
    assert "embed_dim: the file has 32, swin_tiny_patch4_window7_224 has 96" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
    assert mimbench.main([*command, "--architecture", "digits_swin"]) == 0
    record = record_of(only_run(tmp_path / "runs"))
    assert record.encoder is not None
    assert record.encoder.architecture == SMALL["swin"].at_size(64)


def test_random_weights_are_checked_too(
    transfer_command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [*transfer_command, "--encoder", "random:digits_swin", "--runs", str(tmp_path / "runs")]
    assert mimbench.main([*command, "--architecture", "swin_base_window6"]) == mimbench.WRONG
    assert "embed_dim: the file has 32, swin_base_window6 has 128" in capsys.readouterr().err


def test_a_damaged_file_is_not_another_architecture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is missing is reported as missing, as it is without a statement."""
    path = tmp_path / "damaged.safetensors"
    weights = randomised(SMALL["swin"]).state_dict()
    del weights["layers.2.blocks.1.norm2.bias"]
    save_file(weights, path)
    found = inspected(capsys, path, "digits_swin")
    assert found["tasks"]["digits"]["missing"] == ["layers.2.blocks.1.norm2.bias"]


def test_looking_into_a_file_initialises_no_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Random weights that are overwritten at once take most of the time: none are drawn, and reports are the same."""
    path = tmp_path / "theirs.safetensors"
    save_file(randomised(SMALL["swin"]).state_dict(), path)
    before = torch.get_rng_state()
    found = inspected(capsys, path, "digits_swin")
    assert torch.get_rng_state().equal(before)
    assert (found["tasks"]["digits"]["loaded"], found["tasks"]["digits"]["coverage_percent"]) == (119, 100)


def rectangular(folder: Path, **more: Any) -> tuple[Path, nn.Module]:
    torch.manual_seed(1)
    model = timm.create_model(SWIN_T, num_classes=0, img_size=96, window_size=(3, 6), **WIDTHS, **more)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.1)
    path = folder / "rectangular.safetensors"
    save_file(model.state_dict(), path)
    return path, model.eval()


def test_rectangular_windows_are_stated_or_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, model = rectangular(tmp_path)
    said = refused_without(capsys, path)
    assert "layers.0.blocks.0.attn.relative_position_bias_table = 55 rows" in said
    assert "3x6, 6x3 would fit, and no tensor shows which" in said
    assert "add --architecture FILE.yaml that says window_size: [rows, columns]" in said
    mine = entry(tmp_path, SWIN_T, **WIDTHS, window_size=[3, 6], img_size=96)
    encoder = read_foreign(path, state(mine))
    assert encoder.inferred.window_size == (3, 6)
    again = build_backbone(encoder.inferred.architecture, None, whole_windows=False)
    again.load_state_dict(encoder.weights, strict=True)
    assert features(again, 96).equal(features(model, 96))
    wrong = entry(tmp_path, SWIN_T, **WIDTHS, window_size=[7, 7], img_size=224)
    assert "relative_position_bias_table: the file has (55, 1), mine has (169, 1)" in refused(capsys, path, wrong)


def refused_without(capsys: pytest.CaptureFixture[str], path: Path) -> str:
    assert mimbench.main(["checkpoint", "inspect", str(path)]) == mimbench.WRONG
    return " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("window", [(3, 6), (6, 3), (4, 4)])
def test_the_index_buffer_tells_a_rectangle(tmp_path: Path, window: tuple[int, int]) -> None:
    """microsoft's checkpoints keep it: here as timm computes it, from offsets and not from our reading of rows."""
    model = timm.create_model(SWIN_T, num_classes=0, img_size=192, window_size=window, **WIDTHS)
    buffers = {name: tensor for name, tensor in model.named_buffers() if name.endswith("relative_position_index")}
    path = tmp_path / "theirs.safetensors"
    save_file({**model.state_dict(), **buffers}, path)
    twin = loaded(path)
    assert [layer.blocks[0].window_size for layer in twin.layers] == [  # type: ignore[union-attr]
        layer.blocks[0].window_size for layer in model.layers
    ]
