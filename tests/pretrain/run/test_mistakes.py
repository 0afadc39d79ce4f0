"""What a user can get wrong: one clear message, the right exit code, no traceback, nothing lost."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import mimbench
from tests.support.disk import grow, small_disk
from tests.support.runs import only_run, record_of


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("training.epoch=3", ["training.epoch = 3", "no such field", "Did you mean epochs?"]),
        ("training.epochs=many", ["training.epochs = many", "valid integer", "change the override"]),
        ("training.epochs=0", ["training.epochs = 0", "greater than or equal to 1"]),
        ("masking.mask_ratio=1.5", ["masking.mask_ratio = 1.5", "less than 1", "default 0.6"]),
        ("masking.mask_patch_size_px=24", ["masking.mask_patch_size_px = 24", "divisor of image_size_px (32)"]),
        (
            "training.schedule.warmup_epochs=9",
            ["training = (several fields)", "warmup_epochs (9) must be less than epochs (3)"],
        ),
        (
            "training.steps=2",
            ["training.epochs and training.steps = 3 and 2", "exactly one of the two", "training.epochs=null"],
        ),
        ("training.batch_size=64", ["training.batch_size = 64", "number of training images (48)"]),
        ("data.root=/nowhere", ["data folder = /nowhere", "a folder that exists", "set data.root=FOLDER"]),
        ("data.mean=[0.5]", ["data.mean = [0.5]", "one value per input channel of the encoder (3)"]),
        ("image_size_px=40", ["image_size_px = 40", "multiples of the window"]),
        ("training.device=cuda", ["error: training.device = cuda", "a CUDA device"]),
        ("encoder=efficientnet_b0", ["encoder.name = efficientnet_b0", "a family that can be masked"]),
        ("target.resolution_px=5", ["target.resolution_px = 5", "a divisor of image_size_px (32)"]),
        ("encoder=swim_tiny_patch4_window7_224", ["swim_tiny", "Did you mean swin_tiny"]),
        ("data.crop_scale=[1,0.5]", ["data.crop_scale", "the smaller value first"]),
        ("data.crop_ratio=[-1,2]", ["data.crop_ratio = -1", "greater than 0"]),
        ("data.std=[0,0,0]", ["data.std = 0", "greater than 0"]),
        ("training.optimizer.momentum=0.5", ["no such field here", "Known: betas, eps, kind\n"]),
        ("training.optimizer.betas=[2,3]", ["training.optimizer.betas = 2", "less than 1", "change the override"]),
        ("data.fraction=0.1", ["data.fraction = 0.1", "no such field here", "Did you mean data.subset.fraction?"]),
        ("epochs", ["override = epochs", "the form field.name=value, without spaces around ="]),
    ],
)
def test_a_wrong_value_is_explained(
    pretrain_command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], change: str, words: list[str]
) -> None:
    if change == "training.device=cuda" and torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    assert mimbench.main([*pretrain_command, "--runs", str(tmp_path / "runs"), change]) == mimbench.WRONG
    said = capsys.readouterr().err
    for word in [*words, "rule:", "remedy:"]:
        assert word in said
    assert not list(tmp_path.glob("runs/*/record.json")), "a wrong request leaves no run behind"


@pytest.mark.parametrize(
    ("places", "words"),
    [
        (["--runs", "file"], "file is not a folder"),
        (["--runs", "file/below"], "file is not a folder"),
        (["--announce", "."], ". = is a directory"),
        (["--announce", "file/below"], "file is not a folder"),
    ],
)
def test_a_place_that_cannot_be_written_is_explained(
    pretrain_command: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    places: list[str],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("kept")
    assert mimbench.main([*pretrain_command, *places]) == mimbench.WRONG
    said = capsys.readouterr().err
    for word in [words, "rule:", "remedy:"]:
        assert word in said
    assert Path("file").read_text() == "kept"


def test_an_unknown_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    assert mimbench.main(["pretrain", "digits_simmin"]) == mimbench.WRONG
    assert "Did you mean digits_simmim?" in capsys.readouterr().err


def test_an_empty_data_folder(pretrain_command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty" / "unlabelled").mkdir(parents=True)
    assert mimbench.main([*pretrain_command, f"data.root={tmp_path / 'empty'}"]) == mimbench.WRONG
    assert "at least one image" in capsys.readouterr().err


def test_unreadable_images_are_skipped_and_counted(
    pretrain_command: list[str], small_digits: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    broken = sorted((small_digits / "unlabelled").iterdir())[3]
    broken.write_bytes(broken.read_bytes()[:80])
    assert mimbench.main([*pretrain_command, "--runs", str(tmp_path / "runs")]) == 0
    (named,) = record_of(only_run(tmp_path / "runs")).data.unreadable
    assert str(broken) in named
    assert f"unreadable file skipped: {broken}" in capfd.readouterr().err


def test_more_unreadable_images_than_allowed_stop_the_run(
    pretrain_command: list[str], small_digits: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for file in sorted((small_digits / "unlabelled").iterdir())[:4]:
        file.write_bytes(b"")
    command = [*pretrain_command, "--runs", str(tmp_path / "runs"), "data.max_unreadable=3"]
    assert mimbench.main(command) == mimbench.FAILED
    said = capfd.readouterr().err
    assert "4 unreadable files, and data.max_unreadable is 3" in said
    record = record_of(only_run(tmp_path / "runs"))
    assert record.status == "failed"
    assert "4 unreadable files" in (record.error or "")


def test_a_loss_that_is_not_a_number_stops_the_run(
    pretrain_command: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    wild = ["training.schedule.base_lr=1e30", "training.schedule.min_lr=1e30", "training.clip_grad_norm=null"]
    assert mimbench.main([*pretrain_command, "--runs", str(tmp_path / "runs"), *wild]) == mimbench.FAILED
    said = capfd.readouterr().err
    assert "the loss or its gradient was not finite in step" in said
    assert "a lower training.schedule.base_lr" in said


def test_a_full_disk_loses_nothing(
    pretrain_command: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    # One state of this model is 9 MB: two fit, and the third is written before the oldest goes.
    with small_disk(tmp_path / "disk", size_mb=23) as disk:
        assert mimbench.main([*pretrain_command, "--runs", str(disk / "runs")]) == mimbench.FAILED
        output = capfd.readouterr().err
        assert "no room to write" in output
        assert "Traceback" not in output
        folder = only_run(disk / "runs")
        assert len(list((folder / "checkpoints").glob("step_*"))) == 2, "the good ones survive"
        assert not list((folder / "checkpoints").glob(".*")), "the broken one is gone"
        grow(disk, size_mb=60)
        assert mimbench.main([*pretrain_command, "--runs", str(disk / "runs")]) == 0


def test_print_shows_a_recipe_that_can_be_passed_back(
    pretrain_command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert mimbench.main([*pretrain_command, "--print"]) == 0
    text = capsys.readouterr().out
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    assert mimbench.main(["pretrain", str(file), "--print"]) == 0
    assert capsys.readouterr().out == text
