"""What weights alone can show: which no training leaves behind, and which only look so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn

import mimbench
from benchmarks.encoders import Architecture, read_encoder
from benchmarks.engine.backbone import build_backbone
from tests.support.random_weights import of_timm, randomise
from tests.support.runs import only_run, record_of
from tests.transfer.checkpoint.samples import SMALL
from transfer.encoder.proof.loading import implausible_in, load_encoder
from transfer.encoder.proof.plausible import UNTRAINED, implausible

HERE = Path(__file__).parents[3]
GOLDEN = HERE / "golden" / "before" / "finished" / "pretrain-digits_simmim-3b854210dfc7"
VIT = {"img_size": 32, "patch_size": 8, "embed_dim": 64, "depth": 3, "num_heads": 2}


def of_transformers(name: str, **sizes: Any) -> nn.Module:
    import transformers

    torch.manual_seed(0)
    model: nn.Module = getattr(transformers, f"{name}Model")(getattr(transformers, f"{name}Config")(**sizes))
    return model


def in_timms_names(model: nn.Module) -> dict[str, Tensor]:
    return {name.replace("encoder.layer.", "blocks."): tensor for name, tensor in model.state_dict().items()}


FRESH = (*SMALL, "resnet18", "regnety_002", "convnextv2_atto", "mobilenetv3_small_050", "hiera_tiny_224")


@pytest.mark.parametrize("name", FRESH)
def test_random_weights_of_timm_are_known_whatever_the_family(name: str) -> None:
    known = SMALL.get(name)
    torch.manual_seed(0)
    model = build_backbone(known or Architecture(name=name), None, whole_windows=False)
    assert implausible(model.state_dict()) == (f"all blocks: {UNTRAINED}",)
    assert implausible(randomise(model).state_dict()) == ()


@pytest.mark.parametrize("weight_init", ["jax", "moco"])
def test_random_weights_are_known_by_whichever_rule_they_were_drawn(weight_init: str) -> None:
    model = of_timm("vit_tiny_patch16_224", weight_init=weight_init, **VIT)
    assert implausible(model.state_dict()) == (f"all blocks: {UNTRAINED}",)


def test_random_weights_of_other_libraries_are_known() -> None:
    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128}
    assert implausible(in_timms_names(of_transformers("ViT", image_size=32, patch_size=8, **sizes)))
    torch.manual_seed(0)
    swin = torchvision.models.SwinTransformer([4, 4], 16, [2, 2], [1, 2], [4, 4], num_classes=2)
    assert implausible(swin.state_dict()) == (f"all blocks: {UNTRAINED}",)
    torch.manual_seed(0)
    assert implausible(torchvision.models.resnet18(zero_init_residual=True).state_dict())


@pytest.mark.parametrize("folder", ["encoder", "encoders/epoch_1"])
def test_this_programs_own_short_trainings_are_no_false_alarms(folder: str, simmim_run: Path) -> None:
    assert implausible(read_encoder(GOLDEN / folder)[1]) == ()
    assert implausible(read_encoder(simmim_run / "encoder")[1]) == ()


@pytest.mark.parametrize("name", ["vit", "swin", "swinv2", "beit"])
def test_one_step_of_training_is_enough(name: str) -> None:
    known = SMALL[name]  # type: ignore[index]
    model = of_timm(known.name, **known.arguments)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-6)
    model(torch.randn(2, 3, 48, 48)).square().sum().backward()
    optimiser.step()
    assert implausible(model.state_dict()) == ()


def trained() -> dict[str, Tensor]:
    return {name: each.clone() for name, each in randomise(of_timm("vit_tiny_patch16_224", **VIT)).state_dict().items()}


def test_parts_that_real_encoders_leave_where_they_began_are_no_fault() -> None:
    weights = trained()
    weights["norm.weight"][:], weights["norm.bias"][:] = 1, 0  # as dense tasks leave the last norm
    weights["cls_token"][:], weights["pos_embed"][:] = 0, 0
    for block in range(3):
        weights[f"blocks.{block}.attn.qkv.bias"][:] = 0
        weights[f"blocks.{block}.norm1.weight"][:] = 1
    weights["blocks.0.ls1.gamma"] = torch.full((64,), 1e-5)
    weights["blocks.0.rel.relative_position_bias_table"] = torch.zeros(9, 2)
    weights["blocks.0.count"] = torch.tensor(0)
    assert implausible(weights) == ()


def test_norms_folded_into_trained_matrices_are_no_fresh_initialisation() -> None:
    """A model whose norms were merged into the layers after them has norms of 1 and 0, and matrices with structure."""
    weights = trained()
    draw = torch.Generator().manual_seed(1)
    for name, tensor in weights.items():
        if ".norm" in name:
            tensor[:] = 1 if name.endswith("weight") else 0
        elif name.endswith("weight") and tensor.ndim == 2:
            tensor *= torch.rand(tensor.shape[1], generator=draw) * 3  # what a norm's weights do to columns
    assert implausible(weights) == ()


def test_a_block_that_was_never_loaded_is_named() -> None:
    weights, fresh = trained(), of_timm("vit_tiny_patch16_224", **VIT).state_dict()
    weights |= {name: tensor for name, tensor in fresh.items() if name.startswith("blocks.2.")}
    assert implausible(weights) == (f"blocks.2: {UNTRAINED}",)


def test_constant_and_not_finite_tensors_are_named() -> None:
    weights = trained()
    weights["blocks.1.mlp.fc1.weight"][:] = 0.5
    weights["blocks.0.norm2.bias"][3] = float("nan")
    weights["blocks.2.attn.proj.weight"][0, 0] = -float("inf")
    assert implausible(weights) == (
        "blocks.0.norm2.bias: 1 of 64 numbers are not finite",
        "blocks.1.mlp.fc1.weight: all 16384 numbers are 0.5",
        "blocks.2.attn.proj.weight: 1 of 4096 numbers are not finite",
    )


def test_an_all_zero_file_of_half_precision_is_named() -> None:
    zeros = {name: torch.zeros_like(each, dtype=torch.float16) for name, each in trained().items()}
    found = implausible(zeros)
    assert len(found) == 13  # the patches' kernel, and four matrices in each of three blocks
    assert found[0] == "patch_embed.proj.weight: all 12288 numbers are 0"


def test_a_transfer_stops_before_training_unless_it_is_allowed(
    transfer_command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = of_timm("vit_tiny_patch16_224", **VIT)
    torch.save(
        {"model": {name: torch.zeros_like(each) for name, each in model.state_dict().items()}}, tmp_path / "0.pth"
    )
    command = [*transfer_command, "--encoder", str(tmp_path / "0.pth"), "--stage", "supervised"]
    command += ["--architecture", str(_entry(tmp_path)), "--runs", str(tmp_path / "runs"), "training.epochs=1"]
    assert mimbench.main([*command, "training.schedule.warmup_epochs=0"]) == mimbench.FAILED
    message = capsys.readouterr().err
    assert "all 42 tensors were loaded, but 13 findings speak against their having been trained" in message
    assert "blocks.0.attn.qkv.weight: all 12288 numbers are 0" in message
    record = record_of(only_run(tmp_path / "runs"))
    assert (record.status, record.steps) == ("failed", 0)
    allowed = [*command, "training.schedule.warmup_epochs=0", "--allow-implausible-weights"]
    assert mimbench.main(allowed) == mimbench.DONE
    record = record_of(only_run(tmp_path / "runs"))
    assert record.load_report is not None
    assert len(record.load_report.implausible) == 13
    assert "--allow-implausible-weights" in record.command
    out = tmp_path / "report"
    assert mimbench.main(["report", "leaderboard", str(tmp_path / "runs"), "--out", str(out)]) == mimbench.DONE
    assert "all 12288 numbers are 0" in (out / "leaderboard.csv").read_text()


def _entry(folder: Path) -> Path:
    path = folder / "vit.yaml"
    path.write_text(f"name: vit_tiny_patch16_224\narguments: {VIT}\n".replace("'", ""))
    return path


def test_inspect_says_so_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(of_timm("vit_tiny_patch16_224", **VIT).state_dict(), tmp_path / "fresh.pth")
    command = ["checkpoint", "inspect", str(tmp_path / "fresh.pth"), "--architecture", str(_entry(tmp_path))]
    assert mimbench.main(command) == mimbench.DONE
    assert f"implausible           all blocks: {UNTRAINED}" in capsys.readouterr().out
    assert mimbench.main([*command, "--json"]) == mimbench.DONE
    found = json.loads(capsys.readouterr().out)
    assert found["implausible"] == [f"all blocks: {UNTRAINED}"]
    assert {tuple(task.get("implausible", ())) for task in found["tasks"].values()} == {()}  # searched once, for all


def test_what_is_no_number_is_copied_and_then_named() -> None:
    model, weights = of_timm("vit_tiny_patch16_224", **VIT), dict(of_timm("vit_tiny_patch16_224", **VIT).state_dict())
    weights["blocks.0.norm2.bias"][3] = float("nan")
    report = load_encoder(model, weights, "file")
    assert report.complete
    assert report.loaded == report.expected
    assert "blocks.0.norm2.bias: 1 of 64 numbers are not finite" in implausible_in(weights)
