"""A pretraining that continues from an encoder: the weights it starts from, and what its record and manifest say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import save_file

import mimbench
from benchmarks.encoders import read_encoder, read_manifest
from tests.support import small
from tests.support.runs import last_checkpoint, record_of, trained

STILL = ["training.schedule.base_lr=1e-30", "training.schedule.warmup_lr=0", "training.schedule.min_lr=0"]
"""Rates so small that no weight changes in fp32: what such a run exports is what it started from."""
SMALL = yaml.safe_load(small.SWIN.read_text())
MORE_HEADS = {**SMALL["arguments"], "num_heads": [1, 2, 4, 16]}
SHORT = ["training.epochs=1", "training.schedule.warmup_epochs=0"]


def test_a_run_that_changes_nothing_exports_the_bits_it_started_from(
    simmim_run: Path, pretrain_command: list[str], tmp_path: Path
) -> None:
    first = read_manifest(simmim_run / "encoder")
    second = trained(
        [*pretrain_command, *STILL, *SHORT, "--initial", str(simmim_run)], tmp_path / "runs", "--seed", "1"
    )
    manifest, record = read_manifest(second / "encoder"), record_of(second)
    assert manifest.sha256 == first.sha256
    assert (manifest.method, manifest.init_stage, manifest.epochs) == ("simmim -> simmim", "self-supervised", 3 + 1)
    assert manifest.parents == (simmim_run.name, second.name)
    assert record.parents == (simmim_run.name,)
    assert record.encoder is not None
    assert record.encoder.sha256 == first.sha256
    assert record.load_report is not None
    assert (record.load_report.coverage_percent, record.load_report.missing) == (100.0, ())
    assert "the mask token and the head start from random weights" in record.load_report.notes
    before, after = last_checkpoint(simmim_run).part("model"), last_checkpoint(second).part("model")
    fresh = {name for name, tensor in before.items() if not tensor.equal(after[name])}
    assert fresh == {name for name in before if not name.startswith("encoder.backbone.")}


def test_mask_token_and_head_continue_where_they_are_asked_for(
    simmim_run: Path, pretrain_command: list[str], tmp_path: Path
) -> None:
    command = [*pretrain_command, *STILL, *SHORT, "--initial", str(simmim_run)]
    second = trained([*command, "--with-head"], tmp_path / "runs")
    before, after = last_checkpoint(simmim_run).part("model"), last_checkpoint(second).part("model")
    assert [name for name, tensor in before.items() if not tensor.equal(after[name])] == []
    assert trained(command, tmp_path / "others").name != second.name  # another run: another beginning


def test_what_it_starts_from_is_part_of_what_a_run_is(
    simmim_run: Path, pretrain_command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "runs"
    continued = trained([*pretrain_command, *SHORT, "--initial", str(simmim_run)], runs)
    assert (
        mimbench.main([*pretrain_command, *SHORT, "--initial", str(simmim_run / "encoder"), "--runs", str(runs)]) == 0
    )
    assert f"already done: {continued}" in capsys.readouterr().out  # the same weights by another path
    assert mimbench.main([*pretrain_command, *SHORT, "--runs", str(runs)]) == 0
    assert len([path for path in runs.iterdir() if path.is_dir()]) == 2


def test_an_encoder_that_others_trained_with_labels_keeps_its_stage(
    simmim_run: Path, pretrain_command: list[str], tmp_path: Path
) -> None:
    _, weights = read_encoder(simmim_run / "encoder")
    save_file(weights, tmp_path / "theirs.safetensors")
    command = [*pretrain_command, *STILL, *SHORT, "--initial", str(tmp_path / "theirs.safetensors")]
    second = trained([*command, "--stage", "supervised"], tmp_path / "runs")
    manifest, after = read_encoder(second / "encoder")
    assert all(tensor.equal(after[name]) for name, tensor in weights.items())
    assert (manifest.init_stage, manifest.epochs) == ("supervised", None)
    assert manifest.method.endswith(" -> simmim")


def test_a_transfer_of_the_chain_names_both_pretrainings(
    simmim_run: Path, pretrain_command: list[str], transfer_command: list[str], tmp_path: Path
) -> None:
    second = trained([*pretrain_command, *SHORT, "--initial", str(simmim_run)], tmp_path / "runs")
    transfer = trained([*transfer_command, "training.epochs=2", "--encoder", str(second)], tmp_path / "transfers")
    record = record_of(transfer)
    assert record.parents == (simmim_run.name, second.name)
    assert record.encoder is not None
    assert (record.encoder.label, record.encoder.epochs) == ("simmim -> simmim 4 epochs", 4)


def test_tensors_of_another_shape_are_named_and_nothing_is_trained(
    simmim_run: Path, pretrain_command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, weights = read_encoder(simmim_run / "encoder")
    weights["layers.0.blocks.0.norm1.weight"] = torch.ones(7)
    save_file(weights, tmp_path / "encoder.safetensors")
    runs = tmp_path / "runs"
    command = [*pretrain_command, "--initial", str(tmp_path / "encoder.safetensors"), "--stage", "self-supervised"]
    assert mimbench.main([*command, "--runs", str(runs)]) in (1, 2)
    assert "layers.0.blocks.0.norm1.weight" in capsys.readouterr().err
    assert not list(runs.glob("*/checkpoints/step_*"))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (
            ["--initial", "random:swin_tiny_window6"],
            ["--initial = random:swin_tiny_window6", "an encoder that has weights"],
        ),
        (["--initial", "nowhere"], ["encoder = nowhere", "a checkpoint that exists"]),
        (
            ["--initial", "RUN", f"encoder={json.dumps({**SMALL, 'arguments': MORE_HEADS})}"],
            ["num_heads: (1, 2, 4, 8)", "num_heads: (1, 2, 4, 16)"],
        ),
        (["--initial", "RUN", "--with-head", "head.kind=mlp"], ["--with-head", "a run whose head is the recipe's"]),
        (["--initial", "RUN", "--with-head", "--epoch", "1"], ["--with-head", "without --epoch"]),
        (["--with-head"], ["--with-head = True", "beside --initial"]),
        (["--stage", "supervised"], ["--stage = supervised", "beside --initial"]),
    ],
)
def test_what_cannot_be_continued_is_refused_in_words(
    options: list[str],
    named: list[str],
    simmim_run: Path,
    pretrain_command: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = [str(simmim_run) if option == "RUN" else option for option in options]
    assert mimbench.main([*pretrain_command, *given, "--runs", str(tmp_path / "runs")]) == 2
    shown = capsys.readouterr().err
    assert all(words in shown for words in named), shown
