"""One run in several processes: two gloo processes train what one process trains."""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

import mimbench
from benchmarks import ranks
from benchmarks.engine.processes.exchange import joined
from benchmarks.engine.samples.loaders import evaluation_loader
from benchmarks.engine.watch.stop import Interrupted
from tests.slurm.bench import alive
from tests.support.command import ROOT
from tests.support.processes import finished, launch, launch_call
from tests.support.runs import assert_close_training, last_checkpoint, only_run, record_of, wait_for_step
from tests.support.small import RANDOM

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


def torchrun(command: list[str], output: Path) -> subprocess.Popen[bytes]:
    """Start two ranks as a person without our launcher does."""
    with output.open("wb") as file:
        return subprocess.Popen(
            [
                sys.executable,
                "-m",
                "torch.distributed.run",
                "--standalone",
                "--nproc-per-node=2",
                "-m",
                "mimbench",
                *command,
            ],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def ranks_at_work(mark: str) -> dict[int, int]:
    """Return the process ids of the ranks, by rank, among the processes whose command line has a word."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_text().split("\0")
            variables = (folder / "environ").read_text().split("\0")
        except OSError:
            continue
        number = next((entry.removeprefix("RANK=") for entry in variables if entry.startswith("RANK=")), None)
        if mark in words and number is not None:
            found[int(number)] = int(folder.name)
    return found


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("killed", ["a rank", "torchrun"])
def test_no_process_stays_where_a_rank_or_torchrun_itself_is_killed(
    pretrain_command: list[str], tmp_path: Path, killed: str
) -> None:
    runs, output = tmp_path / "runs", tmp_path / "output.txt"
    launcher = torchrun([*pretrain_command, *PLAIN, "training.epochs=4000", "--runs", str(runs)], output)
    wait_for_step(runs, 2)
    ranks = ranks_at_work(str(runs))
    assert ranks.keys() == {0, 1}, output.read_text()
    os.kill(ranks[1] if killed == "a rank" else launcher.pid, signal.SIGKILL)
    assert launcher.wait(60) != 0
    while any(alive(pid) for pid in ranks.values()):  # torchrun's own are waited for by it
        time.sleep(0.1)
    record, said = record_of(only_run(runs)), output.read_text(errors="replace")
    if killed == "a rank":
        assert record.status == "failed"
        assert "rank 0 has lost another process of this run" in str(record.error)
        assert "failed: rank 0 has lost another process of this run" in said
        assert "[rank0]: Traceback" not in said
    else:
        assert record.status == "preempted"
        assert last_checkpoint(only_run(runs)).step == record.steps > 0
