"""Precision fp16: losses are scaled, and steps whose gradients overflow, as too large a scale lets them, do nothing."""

from __future__ import annotations

import functools
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import mimbench
from benchmarks.engine import device
from benchmarks.engine.device import LossScale, choose_device
from benchmarks.engine.optim import clip
from benchmarks.engine.processes.exchange import gathered, joined
from benchmarks.engine.processes.parallel import divide, whole
from benchmarks.errors import UserError
from benchmarks.inference import Inference
from benchmarks.ranks import rank
from tests.support import small
from tests.support.processes import finished, launch_call
from tests.support.runs import (
    assert_close_training,
    assert_same_training,
    last_checkpoint,
    numbers_of,
    only_run,
    record_of,
    stop_after,
    trained,
)

HALF = Inference(precision="fp16")
TOO_LARGE = 2.0**40
STEPS = 36


@pytest.fixture(scope="module")
def command(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A real pretraining of 36 steps on data that no test may change; add --runs."""
    data = small.cut_digits(digits, tmp_path_factory.mktemp("data") / "cut")
    return [*small.pretraining(data), "training.precision=fp16", f"training.epochs={STEPS // 3}"]


@pytest.fixture
def _overflowing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "FIRST_SCALE", TOO_LARGE)


@pytest.fixture
def growing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Double the scale after three good steps, so that it overflows again and again."""
    original = LossScale.__init__

    def growing(self: LossScale, *arguments: object) -> None:
        original(self, *arguments)  # type: ignore[arg-type]
        self.set_growth_interval(3)

    monkeypatch.setattr(LossScale, "__init__", growing)


@pytest.mark.usefixtures("_overflowing")
def test_steps_whose_gradients_overflow_change_nothing_and_are_counted(command: list[str], tmp_path: Path) -> None:
    run = trained(command, tmp_path)
    record, kept = record_of(run), last_checkpoint(run)
    count = len(record.skipped_steps)
    assert 5 < count < STEPS, "the scale fits at last"
    assert record.skipped_steps == tuple(range(count)), "from the first step on, until the scale fits"
    assert kept.part("optimizer")["0.step"] == STEPS - count
    assert kept.data["progress"]["scale"]["scale"] == TOO_LARGE / 2**count
    assert kept.data["progress"]["skipped"] == []
    lines = [line for line in numbers_of(run) if "loss" in line]
    scales = [TOO_LARGE / 2 ** min(line["step"], count) for line in lines]
    assert [line["loss_scale"] for line in lines] == pytest.approx(scales, rel=1e-8)
    assert [line["skipped_steps"] for line in lines] == [min(line["step"], count) for line in lines]
    assert [line["step"] for line in lines if "grad_norm" not in line] == list(range(2, count + 1, 2))
    assert lines[-1]["loss"] < lines[0]["loss"]
    assert record.fast_ways is not None
    assert "a fused update" in record.fast_ways
    assert "tokens in the order of windows" not in record.fast_ways


@pytest.mark.usefixtures("_overflowing", "growing")
def test_a_run_stopped_twice_goes_on_with_its_scale_to_the_same_bits(command: list[str], tmp_path: Path) -> None:
    undisturbed = trained(command, tmp_path / "undisturbed")
    skipped = record_of(undisturbed).skipped_steps
    assert skipped[-1] > len(skipped), "the scale has grown until it overflowed again"
    stop_after(command, tmp_path / "stopped", 4)
    stop_after(command, tmp_path / "stopped", STEPS - 6)
    resumed = trained(command, tmp_path / "stopped")
    assert_same_training(undisturbed, resumed)
    assert last_checkpoint(resumed).data["progress"]["scale"] == last_checkpoint(undisturbed).data["progress"]["scale"]
    assert record_of(resumed).skipped_steps == skipped


@pytest.mark.usefixtures("_overflowing")
def test_a_training_of_which_every_step_overflows_fails_with_its_state_kept(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(device, "LEAST_SCALE", TOO_LARGE / 8)
    assert mimbench.main([*command, "--runs", str(tmp_path)]) == mimbench.FAILED
    said = capsys.readouterr().err
    assert "gradients overflow fp16 in step 4 of 36, even of a loss multiplied by 6.9e+10" in said
    assert "remedy: a lower training.schedule.base_lr, or training.precision=fp32" in said
    kept = last_checkpoint(only_run(tmp_path))
    assert (record_of(only_run(tmp_path)).status, kept.step) == ("failed", 2)
    assert all(tensor.isfinite().all() for tensor in kept.tensors.values())


def test_gradients_of_several_passes_are_those_of_one(command: list[str], tmp_path: Path) -> None:
    plain = [*command, "training.epochs=2", "training.schedule.warmup_epochs=1"]
    smooth = ["training.optimizer={kind: sgd}", "training.schedule.base_lr=0.5"]
    one, four = (trained([*plain, *smooth], tmp_path / n, f"training.accumulate={n}") for n in ("1", "4"))
    assert_close_training(one, four, weights=1e-4, numbers=2e-3)


def pretrain_overflowing(command: list[str]) -> int:
    device.FIRST_SCALE = 2.0**23
    return mimbench.main(command)


@pytest.mark.parametrize("sharded", [False, True], ids=["DDP", "FSDP2"])
def test_two_processes_skip_the_same_steps(command: list[str], tmp_path: Path, sharded: bool) -> None:
    words = [*command, f"training.sharded={sharded}", "training.epochs=3", "--runs", str(tmp_path)]
    ended = finished(launch_call(functools.partial(pretrain_overflowing, words)))
    assert [code for code, _, _ in ended] == [0, 0], ended
    record, kept = record_of(only_run(tmp_path)), last_checkpoint(only_run(tmp_path))
    assert 0 < len(record.skipped_steps) < 9
    assert kept.part("optimizer")["0.step"] == 9 - len(record.skipped_steps)
    assert all(tensor.isfinite().all() for tensor in kept.tensors.values())


def one_rank_overflows() -> int:
    """Train a divided layer for two steps, of which the first overflows in the last rank's part of a gradient."""
    with joined():
        torch.manual_seed(0)
        model, cpu = nn.Linear(8, 8), torch.device("cpu")
        divide(model, [], cpu)
        optimizer, scale = torch.optim.AdamW(model.parameters(), fused=True), LossScale(cpu, HALF)
        before, found = whole(model.weight).clone(), []
        for overflows in (True, False):
            optimizer.zero_grad()
            scale.scale(model(torch.ones(1, 8)).sum()).backward()
            if overflows and rank() == 1:
                model.weight.grad.to_local()[-1, -1] = torch.inf  # type: ignore[union-attr]
            scale.unscale_(optimizer)
            clip(model, 1.0)
            overflow = scale.overflow(optimizer)
            scale.step(optimizer)
            scale.update()
            assert overflow is not None
            changed = not whole(model.weight).equal(before)
            found.append((overflow.item(), changed, bool(whole(model.weight).isfinite().all()), scale.get_scale()))
        assert gathered(found) == [found, found]
        print(found, file=sys.stderr)
    return 0 if found == [(1.0, False, True, 2.0**15), (0.0, True, True, 2.0**15)] else 1


def test_a_divided_models_ranks_agree_though_one_part_alone_overflows() -> None:
    ended = finished(launch_call(one_rank_overflows))
    assert [code for code, _, _ in ended] == [0, 0], ended


def test_a_gpu_without_bf16_is_refused_with_the_precision_that_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch's answers are those that it gives on a V100."""
    answers: dict[str, object] = {"is_available": True, "current_device": 0, "is_bf16_supported": False}
    answers |= {"get_device_name": "Tesla V100-SXM2-32GB", "get_device_capability": (7, 0)}
    for name, answer in answers.items():
        monkeypatch.setattr(torch.cuda, name, lambda *_, answer=answer, **__: answer)
    with pytest.raises(UserError) as refused:
        choose_device(Inference())
    assert "a GPU with bf16, of compute capability 8.0 or more (Tesla V100-SXM2-32GB has 7.0)" in str(refused.value)
    assert "remedy: set inference.precision=fp16" in str(refused.value)
    assert choose_device(HALF).type == "cuda"
