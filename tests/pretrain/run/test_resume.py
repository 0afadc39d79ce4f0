"""Interrupted and continued equals undisturbed, to the bit: the promise that saves a three-week run."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import pytest

import mimbench
from benchmarks.encoders import WEIGHTS, damage_of, read_encoder
from tests.support import small
from tests.support.processes import start
from tests.support.runs import (
    assert_same_training,
    last_checkpoint,
    only_run,
    record_of,
    stop_after,
    trained,
    wait_for_step,
)


@pytest.fixture(scope="module")
def pretrain_command(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A real pretraining of 9 steps on data that no test may change; add --runs."""
    return small.pretraining(small.cut_digits(digits, tmp_path_factory.mktemp("data") / "cut"))


@pytest.fixture(scope="module")
def undisturbed(pretrain_command: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nothing disturbed; no test may change it."""
    return trained(pretrain_command, tmp_path_factory.mktemp("undisturbed"))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_or_stopped_run_continues_to_the_same_bits(
    pretrain_command: list[str], undisturbed: Path, tmp_path: Path, number: signal.Signals
) -> None:
    # Many epochs would be needed to be sure of hitting the middle; a slow loader makes nine steps last long enough.
    runs = tmp_path / "disturbed"
    command = [*pretrain_command, "--runs", str(runs)]
    process = start(command)
    wait_for_step(runs, 2)
    process.send_signal(number)
    code = process.wait()
    folder = only_run(runs)
    if number == signal.SIGKILL:
        assert code == -signal.SIGKILL
        assert record_of(folder).status == "started"
    else:
        assert code == mimbench.INTERRUPTED, process.complained()
        assert "the state is saved" in process.complained()
        assert record_of(folder).status == "preempted"
    assert 2 <= last_checkpoint(folder).step < 9

    assert mimbench.main(command) == 0
    assert record_of(folder).status == "completed"
    assert record_of(folder).attempts == 2
    assert_same_training(folder, undisturbed)
    assert record_of(folder).exported_sha256 == record_of(undisturbed).exported_sha256


@pytest.mark.parametrize("number", [signal.SIGUSR2, signal.SIGINT])
def test_other_signals_stop_a_run_as_well(
    pretrain_command: list[str],
    undisturbed: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    number: signal.Signals,
) -> None:
    folder = stop_after(pretrain_command, tmp_path, 2, number)
    assert "the state is saved" in capfd.readouterr().err
    assert 2 <= last_checkpoint(folder).step < 9
    assert_same_training(trained(pretrain_command, tmp_path), undisturbed)


@pytest.mark.parametrize("part", ["state.safetensors", "state.json"])
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(
    pretrain_command: list[str], undisturbed: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], part: str
) -> None:
    runs = tmp_path / "damaged"
    command = [*pretrain_command, "--runs", str(runs)]
    process = start(command)
    wait_for_step(runs, 4)
    process.send_signal(signal.SIGKILL)
    process.wait()
    folder = only_run(runs)
    newest = sorted((folder / "checkpoints").glob("step_*"))[-1]
    damaged = newest / part
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)

    assert mimbench.main(command) == 0
    said = capfd.readouterr().err
    assert f"checkpoint {newest} is damaged" in said
    assert "using the one before it" in said
    assert_same_training(folder, undisturbed)


def test_seeds_and_workers(pretrain_command: list[str], undisturbed: Path, tmp_path: Path) -> None:
    workers = tmp_path / "workers"
    assert mimbench.main([*pretrain_command, "--runs", str(workers), "training.workers=2"]) == 0
    assert_same_training(only_run(workers), undisturbed)
    assert only_run(workers).name == undisturbed.name, "where it is loaded does not change what the run is"
    other = tmp_path / "other"
    assert mimbench.main([*pretrain_command, "--runs", str(other), "--seed", "1"]) == 0
    assert record_of(only_run(other)).exported_sha256 != record_of(undisturbed).exported_sha256


def test_a_finished_run_is_not_done_again(
    pretrain_command: list[str], undisturbed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = record_of(undisturbed)
    assert mimbench.main([*pretrain_command, "--runs", str(undisturbed.parent)]) == 0
    assert "already done" in capsys.readouterr().out
    assert record_of(undisturbed) == before


@pytest.mark.parametrize("fault", ["deleted", "cut", "flipped"])
def test_a_finished_run_whose_encoder_is_lost_exports_it_again_from_its_last_checkpoint(
    pretrain_command: list[str], undisturbed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], fault: str
) -> None:
    folder = tmp_path / undisturbed.name
    shutil.copytree(undisturbed, folder)
    weights, whole = folder / "encoder" / WEIGHTS, (undisturbed / "encoder" / WEIGHTS).read_bytes()
    sha256 = record_of(undisturbed).exported_sha256
    assert sha256 is not None
    if fault == "deleted":
        shutil.rmtree(folder / "encoder")
    else:
        weights.write_bytes(whole[:-1] if fault == "cut" else whole[:-1] + bytes([whole[-1] ^ 1]))
    assert (damage_of(folder / "encoder", sha256) is None) == (fault == "flipped")
    assert mimbench.main([*pretrain_command, "--runs", str(tmp_path)]) == 0
    assert "exported again from the last checkpoint" in capsys.readouterr().out
    assert weights.read_bytes() == whole
    assert_same_training(folder, undisturbed)


def test_the_exported_encoder_is_the_trained_one(undisturbed: Path) -> None:
    manifest, weights = read_encoder(undisturbed / "encoder")
    trained = last_checkpoint(undisturbed).part("model.encoder.backbone")
    assert weights.keys() == trained.keys()
    assert all(tensor.equal(trained[name]) for name, tensor in weights.items())
    assert (manifest.method, manifest.init_stage, manifest.epochs) == ("simmim", "self-supervised", 3)
    assert manifest.sha256 == record_of(undisturbed).exported_sha256
    assert manifest.parents == (undisturbed.name,)


def test_plain_timm_rebuilds_the_encoder_from_the_manifest(undisturbed: Path) -> None:
    import timm
    from safetensors.torch import load_file

    manifest, _ = read_encoder(undisturbed / "encoder")
    model = timm.create_model(manifest.architecture.name, num_classes=0, **manifest.architecture.arguments)
    model.load_state_dict(load_file(undisturbed / "encoder" / "encoder.safetensors"), strict=True)
