"""Encoders of every family, and images of many channels, from pretraining through an export to fine-tuning."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file

import mimbench
from benchmarks.encoders import read_manifest
from tests.support.runs import only_run, record_of

VIT = (
    "{name: beit_base_patch16_224, arguments: {patch_size: 8, embed_dim: 32, depth: 2, num_heads: 2, init_values: 0.1, "
    "use_abs_pos_emb: false, use_rel_pos_bias: false, use_shared_rel_pos_bias: true, global_pool: token}}"
)
SWINV2 = (
    "{name: swinv2_tiny_window8_256, arguments: "
    "{window_size: 4, embed_dim: 16, depths: [1, 1, 2, 1], num_heads: [1, 2, 4, 8]}}"
)
RESNET = "{name: resnet18, arguments: {channels: [16, 16, 32, 32]}}"


@pytest.mark.parametrize("encoder", [VIT, SWINV2, RESNET], ids=["vit", "swinv2", "resnet"])
def test_every_family_is_pretrained_exported_and_fine_tuned(
    encoder: str, pretrain_command: list[str], transfer_command: list[str], tmp_path: Path
) -> None:
    rarely = "training.checkpoint_every_steps=100"
    command = [*pretrain_command, f"encoder={encoder}", rarely]
    assert mimbench.main([*command, "--runs", str(tmp_path / "pretrain")]) == 0
    run = only_run(tmp_path / "pretrain")
    manifest = read_manifest(run / "encoder")
    model = timm.create_model(manifest.architecture.name, num_classes=0, **manifest.architecture.arguments)
    model.load_state_dict(load_file(run / "encoder" / "encoder.safetensors"), strict=True)

    tuned = [*transfer_command, "--encoder", str(run), "--runs", str(tmp_path / "transfer"), "layer_decay=1.0", rarely]
    assert mimbench.main(tuned) == 0
    record = record_of(only_run(tmp_path / "transfer"))
    assert record.load_report is not None
    assert record.load_report.coverage_percent == 100
    assert read_manifest(only_run(tmp_path / "transfer") / "encoder").parents[0] == run.name


@pytest.fixture
def arrays(tmp_path: Path) -> Path:
    """Sixteen images of six channels: 12-bit counts in files of uint16."""
    folder, chance = tmp_path / "satellite" / "train", np.random.default_rng(0)
    folder.mkdir(parents=True)
    for number in range(16):
        np.save(folder / f"{number}.npy", chance.integers(4096, size=(40, 48, 6), dtype=np.uint16))
    return folder


SIX = [
    "encoder={name: swin_tiny_patch4_window7_224, arguments: "
    "{in_chans: 6, window_size: 4, embed_dim: 16, depths: [1, 1, 1, 1], num_heads: [1, 2, 4, 8]}}",
    *("data.split=train", f"data.mean={[0.03] * 6}", f"data.std={[0.02] * 6}", "training.epochs=2", "validation=null"),
]


def test_images_of_six_channels(pretrain_command: list[str], arrays: Path, tmp_path: Path) -> None:
    damaged = arrays / "3.npy"
    damaged.write_bytes(damaged.read_bytes()[:500])
    np.save(arrays / "4.npy", np.zeros((40, 48, 3), dtype=np.uint16))
    np.save(arrays / "5.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    command = [*pretrain_command, *SIX, f"data.root={arrays.parent}", "--runs", str(tmp_path / "runs")]
    assert mimbench.main(command) == 0
    run = only_run(tmp_path / "runs")
    losses = [json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert all(0.5 < loss < 5 for loss in losses), "values of a few standard deviations"
    unreadable = " ".join(record_of(run).data.unreadable)
    assert "an array [40, 48, 3] where [H, W, 6] belongs" in unreadable
    assert all(f"{number}.npy" in unreadable for number in (3, 4, 5))
    weights = load_file(run / "encoder" / "encoder.safetensors")
    assert weights["patch_embed.proj.weight"].shape == (16, 6, 4, 4)


def test_samples_of_arrays_are_on_a_scale_of_0_to_1(arrays: Path) -> None:
    from benchmarks.engine.samples.images import read_image

    image = read_image(arrays / "0.npy", 6)
    assert isinstance(image, torch.Tensor)
    expected = np.load(arrays / "0.npy").astype(np.float64) / 65535
    np.testing.assert_allclose(image.permute(1, 2, 0).numpy(), expected, rtol=1e-6)


def test_a_folder_without_arrays_is_explained(pretrain_command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """The digits are image files, which have no six channels."""
    assert mimbench.main([*pretrain_command, *SIX, "data.split=unlabelled"]) == mimbench.WRONG
    assert "at least one image (.npy)" in capsys.readouterr().err
