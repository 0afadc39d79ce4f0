"""Whole runs by their commands on the device: stopped and continued, copied and divided, of every kind, timed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed
from torch.distributed.fsdp import FSDPModule
from torch.nn.parallel import DistributedDataParallel

import mimbench
from benchmarks.engine.device import FIRST_SCALE, device_name
from benchmarks.runs.bench_record import bench_records
from tests.support import small
from tests.support.runs import assert_close_training, last_checkpoint, numbers_of, record_of, stop_after, trained
from tests.support.small import RANDOM
from tests.transfer.kinds import KINDS, Kind

SGD = ["training.optimizer={kind: sgd, momentum: 0.9}", "training.schedule.base_lr=0.5"]
"""With plain SGD no rounding is magnified, as AdamW's first steps do."""


@pytest.fixture(scope="module")
def command(digits: Path, device: torch.device, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A pretraining of 9 steps on the device, on data that no test may change; add --runs."""
    pretraining = small.pretraining(small.cut_digits(digits, tmp_path_factory.mktemp("data") / "cut"))
    return [*pretraining, f"training.device={device.type}", *SGD]


@pytest.fixture(scope="module")
def whole(command: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nothing disturbed; no test may change it."""
    return trained(command, tmp_path_factory.mktemp("whole"), "training.workers=1")


@pytest.fixture
def group_of_one(device: torch.device) -> Iterator[None]:
    """This process as a group, in which models are copied and divided as in larger ones."""
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    distributed.init_process_group(backend, store=distributed.HashStore(), rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


def test_a_stopped_run_in_fp16_goes_on_with_its_scale(command: list[str], tmp_path: Path) -> None:
    half = [*command, "training.precision=fp16"]
    whole = trained(half, tmp_path / "whole")
    stop_after(half, tmp_path / "stopped", 4)
    resumed = trained(half, tmp_path / "stopped")
    assert_close_training(whole, resumed, weights=1e-3, numbers=1e-2)
    scales = [last_checkpoint(run).data["progress"]["scale"]["scale"] for run in (whole, resumed)]
    assert scales[0] == scales[1] == FIRST_SCALE / 2 ** len(record_of(whole).skipped_steps)


def test_a_stopped_run_goes_on_to_the_same_numbers(
    command: list[str], whole: Path, tmp_path: Path, device: torch.device
) -> None:
    stop_after(command, tmp_path / "stopped", 4)
    resumed = trained(command, tmp_path / "stopped")
    record = record_of(resumed)
    assert (record.attempts, record.status) == (2, "completed")
    assert record.environment.device == device_name(device)
    assert_close_training(whole, resumed, weights=1e-5, numbers=1e-4)
    assert [line["step"] for line in numbers_of(resumed)] == [line["step"] for line in numbers_of(whole)]


@pytest.mark.parametrize("way", ["training.sharded=true", "training.sharded=false"], ids=["FSDP2", "DDP"])
def test_a_model_copied_or_divided_in_a_group_of_one_trains_as_it_does_alone(
    command: list[str],
    way: str,
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    request.getfixturevalue("group_of_one")  # not before the run that is to have none
    wrapped: list[str] = []
    for place, name in ((DistributedDataParallel, "__init__"), (FSDPModule, "set_requires_gradient_sync")):
        original = getattr(place, name)

        def seen(self: Any, *args: Any, original: Any = original, **kwargs: Any) -> Any:
            wrapped.append(type(self).__name__)
            return original(self, *args, **kwargs)

        monkeypatch.setattr(place, name, seen)
    stop_after([*command, way], tmp_path / "group", 4)
    in_group = trained([*command, way], tmp_path / "group")
    assert_close_training(whole, in_group, weights=1e-5, numbers=1e-4)
    assert set(wrapped) == ({"FSDPSimMIM"} if way.endswith("true") else {"DistributedDataParallel"})


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_every_kind_of_task_trains_some_steps(
    kind: Kind, request: pytest.FixtureRequest, tmp_path: Path, gpu: torch.device
) -> None:
    """On a CPU `tests/transfer/test_life.py` trains them."""
    kind.require()
    data = kind.cut(request.getfixturevalue(kind.whole), tmp_path / "data")
    run = trained([*kind.command(data), *RANDOM, f"training.device={gpu.type}", *kind.shorter], tmp_path / "runs")
    record = record_of(run)
    assert record.environment.device == device_name(gpu)
    assert record.metrics
    assert all(line["loss"] < 100 for line in numbers_of(run) if "loss" in line)


@pytest.mark.parametrize(
    ("recipe", "encoder", "batch"),
    [
        ("simmim_swin_base_192_100ep", "swin_base_window6", 64),
        ("simmim_swinv2_base_192_800ep", "swinv2_large_window12", 32),
    ],
    ids=["Swin-B", "SwinV2-L"],
)
def test_steps_are_timed_as_a_share_of_what_the_device_can_do(
    recipe: str, encoder: str, batch: int, tmp_path: Path, gpu: torch.device, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was measured is printed with -s; how fast it has to be is no test's matter."""
    rounds = ["--batch", str(batch), "--rounds", "6", "--warm-up", "3", "--runs", str(tmp_path), "--json"]
    precision = "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    words = [f"encoder={encoder}", f"training.precision={precision}", f"training.device={gpu.type}"]
    assert mimbench.main(["bench", recipe, *rounds, *words]) == 0
    printed = json.loads(capsys.readouterr().out)
    (record,) = bench_records(tmp_path)
    assert printed["environment"]["device"] == device_name(gpu)
    assert record.utilisation is not None
    assert 0 < record.utilisation < 1
    with capsys.disabled():
        own = record.programs[0]
        print(
            f"\n{encoder}, {batch} images, {precision}: {own.per_second:.0f} images/s, {own.peak_memory_mb:.0f} MB, "
            f"{record.utilisation:.0%} of {(record.matrix_flops_per_second or 0) / 1e12:.1f} TFLOP/s"
        )
