"""Encoders of earlier epochs, exported on the way."""

from __future__ import annotations

from pathlib import Path

import pytest

import mimbench
from benchmarks.encoders import read_encoder
from tests.support.runs import only_run, record_of


def test_an_encoder_of_an_earlier_epoch_can_be_transferred(
    pretrain_command: list[str], transfer_command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "runs"
    assert mimbench.main([*pretrain_command, "export_epochs=[1, 3]", "--runs", str(runs)]) == 0
    run = only_run(runs)
    early, weights = read_encoder(run / "encoders" / "epoch_1")
    last, _ = read_encoder(run / "encoders" / "epoch_3")
    assert (early.epochs, last.epochs) == (1, 3)
    assert last.sha256 == record_of(run).exported_sha256  # of a training of three epochs
    assert early.sha256 != last.sha256
    assert weights.keys() == read_encoder(run / "encoder")[1].keys()

    transfer = [*transfer_command, "training.epochs=2", "--encoder", str(run), "--runs", str(tmp_path / "transfers")]
    assert mimbench.main([*transfer, "--epoch", "1"]) == 0
    use = record_of(only_run(tmp_path / "transfers")).encoder
    assert use is not None
    assert (use.sha256, use.epochs) == (early.sha256, 1)
    assert mimbench.main([*transfer, "--epoch", "2"]) == 2
    assert "exported its encoder (1, 3)" in capsys.readouterr().err


def test_an_epoch_after_the_last_is_refused(
    pretrain_command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert mimbench.main([*pretrain_command, "export_epochs=[4]", "--runs", str(tmp_path / "runs")]) == 2
    assert "export_epochs = 4" in capsys.readouterr().err
