"""Whole transfers of a few steps: from a SimMIM run, from random weights, from timm's hub; and the mistakes."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from sklearn.metrics import accuracy_score

import mimbench
from benchmarks.encoders import InitStage, read_manifest
from benchmarks.engine.checkpoint import read_checkpoint
from benchmarks.errors import UserError
from benchmarks.verbs.statement import EncoderStatement
from tests.support.random_weights import randomise
from tests.support.runs import (
    assert_same_end,
    last_checkpoint,
    numbers_of,
    only_run,
    record_of,
    stop_after,
    trained,
)
from tests.support.small import RANDOM
from transfer.sources.references import resolve


def test_the_score_is_that_of_the_predictions_file(transfer_command: list[str], tmp_path: Path) -> None:
    folder = trained([*transfer_command, *RANDOM], tmp_path / "runs")
    with open(folder / "predictions.csv") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 20
    assert all(row["path"].split("/")[:2] == ["test", row["label"]] for row in rows)
    score = accuracy_score([row["label"] for row in rows], [row["predicted"] for row in rows])
    assert record_of(folder).metrics["top1"].last == pytest.approx(100 * score)


def test_the_exported_encoder_starts_the_next_transfer(transfer_command: list[str], tmp_path: Path) -> None:
    first = trained([*transfer_command, *RANDOM], tmp_path / "first")
    manifest = read_manifest(first / "encoder")
    assert (manifest.method, manifest.init_stage) == ("supervised", "supervised")
    model = last_checkpoint(first).part("model")
    exported = load_file(first / "encoder" / "encoder.safetensors")
    assert exported.keys() == {name for name in model if not name.startswith("head.")}
    assert all(tensor.equal(model[name]) for name, tensor in exported.items())

    second = trained([*transfer_command, "--encoder", str(first)], tmp_path / "second")
    record = record_of(second)
    assert record.encoder is not None
    assert record.encoder.init_stage == "supervised"
    assert read_manifest(second / "encoder").init_stage == "fine-tuned"
    assert read_manifest(second / "encoder").parents == (first.name, second.name)


def test_a_stopped_moving_average_continues_to_the_same_bits(transfer_command: list[str], tmp_path: Path) -> None:
    command, runs = [*transfer_command, *RANDOM, "ema_decay=0.9"], tmp_path / "disturbed"
    undisturbed = trained(command, tmp_path / "undisturbed")
    stop_after(command, runs, 3)
    assert_same_end(trained(command, runs), undisturbed, ("predictions.csv",))


def test_the_moving_average_follows_every_step(transfer_command: list[str], tmp_path: Path) -> None:
    more = ["ema_decay=0.75", "training.checkpoint_every_steps=1"]
    folder = stop_after([*transfer_command, *RANDOM, *more], tmp_path / "runs", 3)
    before, after = (read_checkpoint(path) for path in sorted((folder / "checkpoints").iterdir())[-2:])
    old, new, weights = before.part("model.average"), after.part("model.average"), after.part("model.model")
    for name, tensor in new.items():
        torch.testing.assert_close(tensor, 0.75 * old[name] + 0.25 * weights[name])
    assert not new["norm.weight"].equal(weights["norm.weight"])


def test_the_moving_average_is_evaluated_and_exported(transfer_command: list[str], tmp_path: Path) -> None:
    plain = trained([*transfer_command, *RANDOM], tmp_path / "plain")
    averaged = trained([*transfer_command, *RANDOM], tmp_path / "averaged", "ema_decay=0.5")
    state = last_checkpoint(averaged)
    average, weights = state.part("model.average"), state.part("model.model")
    exported = load_file(averaged / "encoder" / "encoder.safetensors")
    assert all(tensor.equal(average[name]) for name, tensor in exported.items())
    model = last_checkpoint(plain).part("model")
    assert all(tensor.equal(model[name]) for name, tensor in weights.items()), "the training itself is the same"
    losses = [[line["eval_loss"] for line in numbers_of(folder) if "top1" in line] for folder in (plain, averaged)]
    assert losses[0] != losses[1]


def test_an_encoder_of_another_size_is_resized_and_says_so(
    transfer_command: list[str], simmim_run: Path, tmp_path: Path
) -> None:
    folder = trained(
        [*transfer_command, "--encoder", str(simmim_run)], tmp_path / "runs", "image_size_px=64", "table_resize=linear"
    )
    report = record_of(folder).load_report
    assert report is not None
    assert report.coverage_percent == 100
    # At 32 px the last two maps (2 and 1 tokens) are smaller than the window of 4; at 64 px only the last one is.
    assert {resized.name.split(".")[1] for resized in report.resized} == {"2", "3"}
    assert {resized.mode for resized in report.resized} == {"linear"}


def test_from_timms_hub_through_its_cache(
    transfer_command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub's real cache layout with random weights of the real model: the same code path, without a network."""
    name = "vit_tiny_patch16_224.augreg_in21k_ft_in1k"
    snapshot = tmp_path / "hub" / f"models--timm--{name}" / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    refs = snapshot.parent.parent / "refs"
    refs.mkdir()
    (refs / "main").write_text("0" * 40)
    torch.manual_seed(5)
    save_file(randomise(timm.create_model(name)).state_dict(), snapshot / "model.safetensors")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    more = ["image_size_px=64", "training.epochs=1", "training.schedule.warmup_epochs=0", "training.batch_size=40"]
    folder = trained([*transfer_command, "--encoder", f"timm:{name}"], tmp_path / "runs", *more)
    record = record_of(folder)
    assert record.encoder is not None
    assert (record.encoder.init_stage, record.encoder.method) == ("fine-tuned", "augreg_in21k_ft_in1k")
    assert record.load_report is not None
    assert (record.load_report.coverage_percent, record.load_report.source_format) == (100, "timm")


@pytest.mark.parametrize(
    ("name", "given", "stage"),
    [
        ("vit_tiny_patch16_224.augreg_in21k", None, "supervised"),
        ("vit_tiny_patch16_224.augreg_in21k", "self-supervised", "self-supervised"),
        ("vit_base_patch16_224.mae", None, "self-supervised"),
        ("vit_base_patch16_224.dino", None, "self-supervised"),
        ("vit_small_patch14_reg4_dinov2.lvd142m", None, "self-supervised"),
        ("vit_large_patch16_dinov3.sat493m", None, "self-supervised"),
        ("vit_huge_patch14_gap_224.in1k_ijepa", None, "self-supervised"),
        ("eva02_tiny_patch14_224.mim_in22k", None, "self-supervised"),
        ("vit_base_patch16_radio_v3.c_radio", None, None),
        ("vit_tiny_patch16_dinov3_qkvb.eupe_lvd1689m", None, None),
        ("vit_base_patch32_224.orig_in21k", None, None),
        ("vit_base_patch32_224.orig_in21k", "supervised", "supervised"),
        ("samvit_base_patch16.sa1b", None, None),
        ("vit_base_patch16_clip_224.laion2b", "self-supervised", "self-supervised"),
        ("vit_base_patch16_clip_224.openai_ft_in1k", None, "fine-tuned"),
        ("vit_base_patch16_siglip_224.webli", None, None),
        ("vit_base_patch16_clip_224.dfn2b", None, None),
        ("vit_base_patch16_clip_224.datacompxl", None, None),
        ("vit_base_patch16_clip_224.metaclip_400m", None, None),
    ],
)
def test_stage_of_a_timm_model(
    monkeypatch: pytest.MonkeyPatch, name: str, given: InitStage | None, stage: InitStage | None
) -> None:
    monkeypatch.setattr("transfer.sources.hub._pretrained", lambda _name: {"weight": torch.zeros(1)})
    if stage is None:
        with pytest.raises(UserError, match="add --stage self-supervised"):
            resolve(f"timm:{name}", EncoderStatement(stage=given))
    else:
        assert resolve(f"timm:{name}", EncoderStatement(stage=given)).use.init_stage == stage


def test_bf16_trains_and_keeps_weights_in_fp32(transfer_command: list[str], tmp_path: Path) -> None:
    folder = trained([*transfer_command, *RANDOM], tmp_path / "runs", "training.precision=bf16")
    losses = [line["loss"] for line in numbers_of(folder) if "loss" in line]
    assert all(0 < loss < 10 for loss in losses)
    exported = load_file(folder / "encoder" / "encoder.safetensors")
    assert {tensor.dtype for tensor in exported.values()} == {torch.float32}


@pytest.mark.parametrize(
    ("reference", "code", "words"),
    [
        ("nowhere", mimbench.WRONG, ["encoder = nowhere", "a checkpoint that exists"]),
        ("timm:swin_bas_patch4_window7_224", mimbench.WRONG, ["swin_bas", "Did you mean swin_base"]),
        ("timm:vit_base_patch16_clip_224.openai", mimbench.WRONG, ["stage of timm:vit_base", "--stage supervised"]),
        ("random:digit_swin", mimbench.WRONG, ["digit_swin", "Did you mean digits_swin"]),
    ],
)
def test_a_wrong_encoder_is_explained(
    transfer_command: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    reference: str,
    code: int,
    words: list[str],
) -> None:
    assert mimbench.main([*transfer_command, "--encoder", reference, "--runs", str(tmp_path)]) == code
    said = capsys.readouterr().err
    assert all(word in said for word in words), said


def test_an_unfinished_run_is_no_encoder(
    pretrain_command: list[str], transfer_command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wild = ["training.schedule.base_lr=1e30", "training.clip_grad_norm=null"]
    assert mimbench.main([*pretrain_command, "--runs", str(tmp_path / "failed"), *wild]) == mimbench.FAILED
    failed = only_run(tmp_path / "failed")
    assert mimbench.main([*transfer_command, "--encoder", str(failed)]) == mimbench.WRONG
    assert (
        "a completed run (this one is failed: WorkFailed: the loss or its gradient was not finite"
        in capsys.readouterr().err
    )


def test_a_changed_encoder_file_is_refused(
    transfer_command: list[str], simmim_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = Path(shutil.copytree(simmim_run, tmp_path / "changed"))
    weights = changed / "encoder" / "encoder.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    command = [*transfer_command, "--encoder", str(changed), "--runs", str(tmp_path / "runs")]
    assert mimbench.main(command) == mimbench.WRONG
    words = capsys.readouterr().err
    assert "the file changed\n" in words
    assert "remedy: export it again from the run's last checkpoint" in words


def test_an_encoder_with_a_position_table_for_each_block_can_be_used_again(
    transfer_command: list[str], tmp_path: Path
) -> None:
    """SimMIM fine-tunes its ViT with copies of the table that all blocks shared; afterwards they differ."""
    architecture = tmp_path / "vit.yaml"
    shape = "patch_size: 8, embed_dim: 16, depth: 2, num_heads: 2, init_values: 0.1, use_abs_pos_emb: false"
    tables = "use_rel_pos_bias: false, use_shared_rel_pos_bias: true"
    architecture.write_text(f"name: beit_base_patch16_224\narguments: {{{shape}, {tables}}}\n")
    folder = trained(
        [*transfer_command, "--encoder", f"random:{architecture}"], tmp_path / "runs", "bias_per_block=true"
    )
    exported = load_file(folder / "encoder" / "encoder.safetensors")
    one, two = (exported[f"blocks.{block}.attn.relative_position_bias_table"] for block in range(2))
    assert not one.equal(two)
    again = trained([*transfer_command, "--encoder", str(folder)], tmp_path / "again")
    report = record_of(again).load_report
    assert report is not None
    assert (report.coverage_percent, report.resized) == (100, ())
