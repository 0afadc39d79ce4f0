"""Ways to train in less memory, which may not change what is trained: with plain SGD, so that no sum is magnified."""

from __future__ import annotations

import functools
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

import mimbench
from benchmarks.encoders import read_encoder
from tests.support import small
from tests.support.in_turn import in_turn
from tests.support.processes import finished, launch_call
from tests.support.runs import (
    assert_close_training,
    assert_same_training,
    last_checkpoint,
    only_run,
    record_of,
    stop_after,
    trained,
)

pytestmark = pytest.mark.long  # whole pretrainings in one process and in two

SGD = ["training.optimizer={kind: sgd, momentum: 0.9}", "training.schedule.base_lr=0.5", "training.batch_size=16"]
EXACT = {"weights": 1e-5, "numbers": 1e-5}
"""How far two trainings may be apart: the rounding of fp32 sums."""


@pytest.fixture(scope="module")
def command(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Nine steps on data that no test may change; add --runs."""
    return [*small.pretraining(small.cut_digits(digits, tmp_path_factory.mktemp("data") / "cut")), *SGD]


@pytest.fixture(scope="module")
def whole(command: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of one process and whole batches; no test may change it."""
    return trained(command, tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def pairs(command: list[str], pretrain_adamw: list[str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folders of runs of two processes, by name; no test may change them."""
    root = tmp_path_factory.mktemp("pairs")
    stop_after(command, root / "begun by one", 4)
    divided = [*command, "training.sharded=true"]
    runs: list[tuple[str, list[str], dict[str, Any]]] = [
        ("copied", command, {}),
        ("in parts", [*command, "training.accumulate=2"], {}),
        ("divided", divided, {}),
        ("divided, stopped", divided, {"stop": 4, "copy": str(root / "divided, for one")}),
        ("divided, stopped", divided, {}),
        ("begun by one", command, {}),
        ("adamw", pretrain_adamw, {}),
        ("adamw, stopped", pretrain_adamw, {"stop": 4}),
        ("adamw, stopped", pretrain_adamw, {}),
    ]
    entries = [{"command": line, "runs": str(root / name), **more} for name, line, more in runs]
    in_turn(entries, root / "found")
    return {folder.name: only_run(folder) for folder in root.iterdir() if folder.is_dir()}


@pytest.fixture(scope="module")
def pretrain_adamw(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return small.pretraining(small.cut_digits(digits, tmp_path_factory.mktemp("adamw") / "cut"))


def test_accumulated_gradients_are_those_of_the_whole_batch(command: list[str], whole: Path, tmp_path: Path) -> None:
    parts = trained([*command, "training.accumulate=4"], tmp_path / "parts")
    assert whole.name == parts.name, "it says how to run, not what"
    assert_close_training(whole, parts, **EXACT)
    assert record_of(parts).steps == 9


def test_two_processes_of_half_a_batch_are_one_of_a_whole(whole: Path, pairs: dict[str, Path]) -> None:
    for name in ("copied", "in parts", "begun by one"):
        assert_close_training(whole, pairs[name], **EXACT)
    assert record_of(pairs["begun by one"]).attempts == 2


def test_a_divided_model_trains_and_exports_as_a_copied_one(pairs: dict[str, Path]) -> None:
    copied, divided = pairs["copied"], pairs["divided"]
    assert_close_training(copied, divided, **EXACT)
    assert last_checkpoint(copied).tensors.keys() == last_checkpoint(divided).tensors.keys()
    ours, theirs = (read_encoder(folder / "encoder")[1] for folder in (divided, copied))
    for name, tensor in theirs.items():
        torch.testing.assert_close(ours[name], tensor, rtol=1e-5, atol=1e-5)


def test_any_number_of_processes_goes_on_with_a_divided_model(
    command: list[str], whole: Path, pairs: dict[str, Path]
) -> None:
    """Begun by two divided processes, ended by one alone: as nine steps of one process."""
    resumed = trained([*command, "training.sharded=true"], pairs["divided, for one"].parent)
    assert record_of(resumed).attempts == 2
    assert_close_training(whole, resumed, **EXACT)


def _killed_in_the_third_save(command: list[str]) -> int:
    """Train; the process that writes is killed when all of its third checkpoint is written but its name."""
    rename = Path.rename

    def renamed(self: Path, target: Path) -> Path:
        if target.name.startswith("step_") and len(list(target.parent.glob("step_*"))) == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return rename(self, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "rename", renamed)
        return mimbench.main(command)


def test_a_process_that_is_killed_while_it_saves_a_divided_model_costs_the_steps_since_the_last_checkpoint(
    command: list[str], whole: Path, tmp_path: Path
) -> None:
    divided = [*command, "training.sharded=true", "--runs", str(tmp_path)]
    (main, other) = finished(launch_call(functools.partial(_killed_in_the_third_save, divided)))
    assert (main[0], other[0]) == (-signal.SIGKILL, mimbench.MACHINE), other[2]
    assert last_checkpoint(only_run(tmp_path)).step == 2
    resumed = trained([*command, "training.sharded=true"], tmp_path)
    assert record_of(resumed).attempts == 2
    assert not list((resumed / "checkpoints").glob(".*"))
    assert_close_training(whole, resumed, **EXACT)


def test_two_processes_that_are_stopped_end_with_the_same_bits(pairs: dict[str, Path]) -> None:
    """An optimiser's state comes back in another order than it was made in, and is gathered all the same."""
    for name in ("divided", "adamw"):
        assert_same_training(pairs[name], pairs[f"{name}, stopped"])
        assert record_of(pairs[f"{name}, stopped"]).attempts == 2


def test_activations_computed_again_change_nothing(command: list[str], whole: Path, tmp_path: Path) -> None:
    again = trained([*command, "training.activation_checkpointing=true"], tmp_path / "again")
    assert_same_training(whole, again)


@pytest.mark.long
def test_compiled_blocks_train_as_plain_ones(command: list[str], tmp_path: Path) -> None:
    """One block in scalar code: nearly all of the time goes into compiling."""
    from torch._inductor import config

    arguments = "{window_size: 4, embed_dim: 8, depths: [1], num_heads: [1]}"
    small = f"encoder={{name: swin_tiny_patch4_window7_224, arguments: {arguments}}}"
    command = [*command, small, "training.epochs=2"]
    plain = trained(command, tmp_path / "plain")
    with config.patch({"cpp.simdlen": 1}):
        compiled = trained([*command, "training.compile=true"], tmp_path / "compiled")
    assert_close_training(plain, compiled, weights=1e-4, numbers=1e-4)


def test_parts_that_do_not_divide_are_refused(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert mimbench.main([*command, "training.accumulate=3", "--runs", str(tmp_path)]) == mimbench.WRONG
    assert "a divisor of each process's images per step (16)" in capsys.readouterr().err
