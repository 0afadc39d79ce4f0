"""Ways to train in less memory, which may not change what is trained: with plain SGD, so that no sum is magnified."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest
import torch

import mimbench
from benchmarks.encoders import read_encoder
from tests import small
from tests.processes import Process, finished, launch
from tests.runs import assert_same_training, last_checkpoint, numbers_of, only_run, record_of

SGD = ["training.optimizer={kind: sgd, momentum: 0.9}", "training.schedule.base_lr=0.5", "training.batch_size=16"]


def trained(command: list[str], runs: Path, processes: int = 1) -> Path:
    """Train in so many processes; return the run's folder."""
    if processes == 1:
        assert mimbench.main([*command, "--runs", str(runs)]) == 0
    else:
        ranks = finished(launch([*command, "--runs", str(runs)], processes))
        assert [code for code, _, _ in ranks] == [0] * processes, ranks
    return only_run(runs)


def assert_equal_training(one: Path, other: Path, tolerance: float = 1e-5) -> None:
    """Two runs ended alike to the rounding of fp32 sums."""
    found = last_checkpoint(other).part("model")
    for name, tensor in last_checkpoint(one).part("model").items():
        torch.testing.assert_close(found[name], tensor, rtol=tolerance, atol=tolerance)
    for here, there in zip(numbers_of(one), numbers_of(other), strict=True):
        assert there == pytest.approx(here, rel=tolerance, abs=1e-7)


def stop_after(ranks: list[Process], runs: Path, step: int) -> None:
    """Ask one of the ranks to stop once there is a checkpoint of `step` steps."""
    deadline = time.monotonic() + 100
    while not list(runs.glob(f"*/checkpoints/step_{step:09d}")):
        assert time.monotonic() < deadline
        assert ranks[0].poll() is None
        time.sleep(0.01)
    ranks[-1].send_signal(signal.SIGTERM)
    assert [code for code, _, _ in finished(ranks)] == [mimbench.INTERRUPTED] * len(ranks)


@pytest.fixture(scope="module")
def command(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Nine steps on data that no test may change; add --runs."""
    return [*small.pretraining(small.cut_digits(digits, tmp_path_factory.mktemp("data") / "cut")), *SGD]


@pytest.fixture(scope="module")
def whole(command: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of one process and whole batches; no test may change it."""
    return trained(command, tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def copied(command: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of two processes, each with half of every batch; no test may change it."""
    return trained(command, tmp_path_factory.mktemp("copied"), processes=2)


def test_accumulated_gradients_are_those_of_the_whole_batch(command: list[str], whole: Path, tmp_path: Path) -> None:
    parts = trained([*command, "training.accumulate=4"], tmp_path / "parts")
    assert whole.name == parts.name, "it says how to run, not what"
    assert_equal_training(whole, parts)
    assert record_of(parts).steps == 9


def test_two_processes_of_half_a_batch_are_one_of_a_whole(
    command: list[str], whole: Path, copied: Path, tmp_path: Path
) -> None:
    assert_equal_training(whole, copied)
    assert_equal_training(whole, trained([*command, "training.accumulate=2"], tmp_path / "parts", processes=2))


def test_a_divided_model_trains_resumes_and_exports_as_a_copied_one(
    command: list[str], copied: Path, tmp_path: Path
) -> None:
    divided = trained([*command, "training.sharded=true"], tmp_path / "divided", processes=2)
    assert_equal_training(copied, divided)
    assert last_checkpoint(copied).tensors.keys() == last_checkpoint(divided).tensors.keys()
    ours, theirs = (read_encoder(folder / "encoder")[1] for folder in (divided, copied))
    for name, tensor in theirs.items():
        torch.testing.assert_close(ours[name], tensor, rtol=1e-5, atol=1e-5)


def test_any_number_of_processes_goes_on_with_a_divided_model(command: list[str], whole: Path, tmp_path: Path) -> None:
    """Begun by two divided processes, ended by one alone: as nine steps of one process."""
    folder = tmp_path / "runs"
    command = [*command, "training.sharded=true", "training.checkpoint_every_steps=3"]
    stop_after(launch([*command, "--runs", str(folder)]), folder, step=3)
    resumed = trained(command, folder)
    assert_equal_training(whole, resumed)


def test_two_processes_go_on_with_what_one_began(command: list[str], whole: Path, tmp_path: Path) -> None:
    command, folder = [*command, "training.checkpoint_every_steps=3"], tmp_path / "runs"
    stop_after(launch([*command, "--runs", str(folder)], processes=1), folder, step=3)
    assert_equal_training(whole, trained(command, folder, processes=2))


def test_two_processes_that_are_stopped_end_with_the_same_bits(pretrain_command: list[str], tmp_path: Path) -> None:
    command = [*pretrain_command, "training.epochs=8", "training.checkpoint_every_steps=3"]
    undisturbed, folder = trained(command, tmp_path / "undisturbed", processes=2), tmp_path / "runs"
    stop_after(launch([*command, "--runs", str(folder)]), folder, step=3)
    assert last_checkpoint(only_run(folder)).step < 24
    assert_same_training(undisturbed, trained(command, folder, processes=2))


def test_activations_computed_again_change_nothing(command: list[str], whole: Path, tmp_path: Path) -> None:
    again = trained([*command, "training.activation_checkpointing=true"], tmp_path / "again")
    assert_same_training(whole, again)


@pytest.mark.slow
def test_compiled_blocks_train_as_plain_ones(command: list[str], tmp_path: Path) -> None:
    """One block in scalar code: nearly all of the time goes into compiling."""
    from torch._inductor import config

    arguments = "{window_size: 4, embed_dim: 8, depths: [1], num_heads: [1]}"
    small = f"encoder={{name: swin_tiny_patch4_window7_224, arguments: {arguments}}}"
    command = [*command, small, "training.epochs=2"]
    plain = trained(command, tmp_path / "plain")
    with config.patch({"cpp.simdlen": 1}):
        compiled = trained([*command, "training.compile=true"], tmp_path / "compiled")
    assert_equal_training(plain, compiled, tolerance=1e-4)


def test_parts_that_do_not_divide_are_refused(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert mimbench.main([*command, "training.accumulate=3", "--runs", str(tmp_path)]) == mimbench.WRONG
    assert "a divisor of each process's images per step (16)" in capsys.readouterr().err
