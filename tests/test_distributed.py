"""One run in several processes: two gloo processes train what one process trains."""

from __future__ import annotations

import functools
import json
import os
import signal
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

import mimbench
from benchmarks import ranks
from benchmarks.engine.processes.exchange import joined
from benchmarks.engine.samples.loaders import evaluation_loader
from benchmarks.engine.watch.stop import Interrupted
from tests.processes import finished, launch, launch_call
from tests.runs import assert_close_training, last_checkpoint, only_run, record_of, wait_for_step
from tests.small import RANDOM

PLAIN = ["drop_path_rate=0.0"]
# Without mixing and stochastic depth nothing is drawn per process, so that the number of processes changes no sample.
UNMIXED = [*PLAIN, "augmentation.mixup=0", "augmentation.cutmix=0"]


def test_two_processes_pretrain_as_one(pretrain_command: list[str], tmp_path: Path) -> None:
    command = [*pretrain_command, *PLAIN]
    assert mimbench.main([*command, "--runs", str(tmp_path / "one")]) == 0
    (main, other) = finished(launch([*command, "--runs", str(tmp_path / "two")]))
    assert (main[0], other[0]) == (0, 0), main[2] + other[2]
    assert "done:" in main[1]
    assert other[1] == "", "only the main process speaks"
    one, two = only_run(tmp_path / "one"), only_run(tmp_path / "two")
    assert one.name == two.name
    assert_close_training(one, two)
    assert record_of(two).status == "completed"
    assert record_of(two).metrics["masked_loss"].last == pytest.approx(
        record_of(one).metrics["masked_loss"].last, rel=1e-4
    )


def test_two_processes_fine_tune_and_evaluate_as_one(transfer_command: list[str], tmp_path: Path) -> None:
    command = [*transfer_command, *RANDOM, *UNMIXED]
    assert mimbench.main([*command, "--runs", str(tmp_path / "one")]) == 0
    ended = finished(launch([*command, "--runs", str(tmp_path / "two")]))
    assert [code for code, _, _ in ended] == [0, 0], ended
    one, two = only_run(tmp_path / "one"), only_run(tmp_path / "two")
    assert_close_training(one, two)
    paths = [[line.split(",")[0] for line in (run / "predictions.csv").read_text().splitlines()] for run in (one, two)]
    assert paths[0] == paths[1], "every test image once, in the same order"
    assert len(paths[0]) == 1 + 20


def test_a_stop_of_one_process_stops_all_after_the_same_step_and_any_number_goes_on(
    pretrain_command: list[str], tmp_path: Path
) -> None:
    command = [*pretrain_command, *PLAIN, "training.epochs=8", "--runs", str(tmp_path / "runs")]
    both = launch(command)
    wait_for_step(tmp_path / "runs", 1)
    both[1].send_signal(signal.SIGTERM)
    (main, other) = finished(both)
    assert (main[0], other[0]) == (mimbench.INTERRUPTED, mimbench.INTERRUPTED), main[2] + other[2]
    folder = only_run(tmp_path / "runs")
    stopped_at = last_checkpoint(folder).step
    assert f"SIGTERM after step {stopped_at} of 24" in main[2]
    assert 0 < stopped_at < 24
    assert mimbench.main(command) == 0, "one process goes on with what two have begun"
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    steps = [line["step"] for line in lines if "loss" in line]
    assert steps == sorted(set(steps))
    assert steps[-1] == 24


class Samples(list[int]):
    """Samples that are their own positions."""

    collate = staticmethod(list)

    def __getitem__(self, key: Any) -> int:  # type: ignore[override]
        return int(key.position)


def evaluate(counts: Iterable[int]) -> None:
    """Print the positions that this rank sees of so many samples; rank 1 is asked to stop in its third batch."""
    with joined():
        for count in counts:
            seen, asked = [], []
            try:
                for (position,) in evaluation_loader(Samples(range(count)), 2, 0, False):
                    seen.append(position)
                    if ranks.rank() == 1 and len(seen) == 3:
                        os.kill(os.getpid(), signal.SIGTERM)
            except Interrupted as interrupted:
                asked = [interrupted.signal_name]
            print(*asked, *seen)


def test_all_processes_leave_an_evaluation_after_the_same_batch() -> None:
    expected = {
        9: ["0 2 4 6 8", "1 3 5 7"],  # over before they ask each other
        15: ["SIGTERM 0 2 4 6 8 10 12 14", "SIGTERM 1 3 5 7 9 11 13"],  # the second has no eighth batch
        40: ["SIGTERM 0 2 4 6 8 10 12 14", "SIGTERM 1 3 5 7 9 11 13 15"],
    }
    ended = finished(launch_call(functools.partial(evaluate, list(expected))))
    assert [tuple(said.splitlines()) for _, said, _ in ended] == list(zip(*expected.values(), strict=True)), ended


def test_mistakes_of_the_launcher_are_explained(
    pretrain_command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [*pretrain_command, "--runs", str(tmp_path)]
    monkeypatch.setenv("WORLD_SIZE", "two")
    assert mimbench.main(command) == mimbench.WRONG
    assert "environment variable WORLD_SIZE = two" in capsys.readouterr().err
    monkeypatch.setenv("WORLD_SIZE", "3")
    assert mimbench.main(command) == mimbench.WRONG
    assert "a multiple of the number of processes (3)" in capsys.readouterr().err
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert mimbench.main(command) == mimbench.WRONG
    assert "environment variable RANK = (not set)" in capsys.readouterr().err
