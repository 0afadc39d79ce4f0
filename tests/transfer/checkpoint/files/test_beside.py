"""Epochs and normalisation that stand beside a checkpoint reach whoever uses it next."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import timm
from safetensors.torch import save_file

import mimbench
from benchmarks.encoders import read_manifest
from tests.support.random_weights import randomise
from tests.support.runs import only_run, record_of
from tests.transfer.checkpoint.encoders import SMALL, export, randomised


def test_what_is_known_of_a_training_goes_with_the_converted_file(
    transfer_command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The export's epochs and normalisation reach the next user: `inspect` prints them, a transfer uses them."""
    export(SMALL["swin"], tmp_path / "encoder")
    out = tmp_path / "out.safetensors"
    command = ["checkpoint", "convert", str(tmp_path / "encoder"), "--to", "mmseg", "--out", str(out)]
    assert mimbench.main(command) == 0
    about = json.loads((tmp_path / "out.safetensors.json").read_text())
    assert (about["epochs"], about["stage"], about["mean"], about["std"]) == (
        7,
        "self-supervised",
        [0.5] * 3,
        [0.5] * 3,
    )
    capsys.readouterr()
    assert mimbench.main(["checkpoint", "inspect", str(out), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["epochs"], found["mean"], found["std"]) == (7, [0.5] * 3, [0.5] * 3)
    assert mimbench.main([*transfer_command, "--encoder", str(out), "--runs", str(tmp_path / "runs")]) == 0
    folder = only_run(tmp_path / "runs")
    encoder, exported = record_of(folder).encoder, read_manifest(folder / "encoder")
    assert encoder is not None
    assert encoder.epochs == 7
    assert (exported.mean, exported.std) == ((0.5,) * 3, (0.5,) * 3)


def test_what_is_unknown_of_a_training_is_left_out(tmp_path: Path) -> None:
    path, out = tmp_path / "theirs.safetensors", tmp_path / "out.safetensors"
    save_file(randomised(SMALL["swin"]).state_dict(), path)
    assert mimbench.main(["checkpoint", "convert", str(path), "--to", "timm", "--out", str(out)]) == 0
    about = json.loads((tmp_path / "out.safetensors.json").read_text())
    assert not {"epochs", "mean", "std"} & about.keys()


def test_timms_config_tells_the_normalisation(
    transfer_command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As timm writes it for its hub: `pretrained_cfg` holds mean and std."""
    model = timm.create_model(
        "swin_tiny_patch4_window7_224", **SMALL["swin"].arguments, num_classes=0, img_size=32,
        pretrained_cfg_overlay={"mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6)},
    )  # fmt: skip
    randomise(model)
    arguments = {**SMALL["swin"].arguments, "img_size": 32}
    timm.models.save_for_hf(model, tmp_path / "theirs", model_args=arguments, safe_serialization=True)
    command = [*transfer_command, "--encoder", str(tmp_path / "theirs"), "--runs", str(tmp_path / "runs")]
    assert mimbench.main([*command, "--stage", "supervised"]) == 0
    exported = read_manifest(only_run(tmp_path / "runs") / "encoder")
    assert (exported.mean, exported.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    config = json.loads((tmp_path / "theirs" / "config.json").read_text())
    for wrong in ([0.5], [0.5, "x", 0.5], [0.5, -1.0, 0.5], [0.5, 10**400, 0.5]):
        config["pretrained_cfg"]["std"] = wrong
        (tmp_path / "theirs" / "config.json").write_text(json.dumps(config))
        capsys.readouterr()
        assert mimbench.main(["checkpoint", "inspect", str(tmp_path / "theirs")]) == mimbench.WRONG
        assert "std in config.json" in capsys.readouterr().err
