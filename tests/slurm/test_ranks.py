"""Stages in several processes that really train: on this machine, and over the nodes of a real Slurm."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.runs.folder import follow
from tests.runs import assert_close_training, assert_same_training, last_checkpoint, numbers_of, record_of
from tests.slurm.bench import Bench, alive, members
from tests.slurm.trained import pipeline


@pytest.fixture
def trained(tmp_path: Path, small_digits: Path) -> Iterator[Bench]:
    assert small_digits == tmp_path / "small_digits"
    found = Bench(tmp_path, stub=None)
    (tmp_path / "one.yaml").write_text("{executor: local, stages_at_once: 1}")
    (tmp_path / "two.yaml").write_text("{executor: local, stages_at_once: 1, processes_per_stage: 2}")
    yield found
    found.close()


def steps_of(bench: Bench, stage: str) -> int:
    """Return how many steps a running stage has logged."""
    try:
        return int(numbers_of(follow(bench.folder.announcement(stage)))[-1]["step"])
    except (ValueError, OSError, IndexError):
        return 0


def ranks_of(job: int) -> dict[int, int]:
    """Return the process ids of a job's ranks, by rank."""
    found = {}
    for pid in Path(f"/proc/{job}/task/{job}/children").read_text().split():
        variables = dict(
            entry.split("=", 1) for entry in Path(f"/proc/{pid}/environ").read_text().split("\0") if "=" in entry
        )
        found[int(variables["RANK"])] = int(pid)
    return found


@pytest.mark.slow
def test_two_processes_here_train_what_one_trains(trained: Bench) -> None:
    (trained.path / "pipeline.yaml").write_text(pipeline(epochs=3))
    for name in ("one", "two"):
        done = trained.submit("--cluster", f"{name}.yaml", "--runs", name, "--pipelines", f"pipelines_{name}")
        assert done.returncode == 0, done.stdout
    one, two = ({path.name: path for path in (trained.path / name).iterdir()} for name in ("one", "two"))
    (pretrained,) = (name for name in one if name.startswith("pretrain"))
    assert_close_training(one[pretrained], two[pretrained])
    # The fine-tunings start from encoders that differ by roundings, so they have different ids: those tell the encoder.
    (here,) = (path for name, path in one.items() if name != pretrained)
    (there,) = (path for name, path in two.items() if name != pretrained)
    assert record_of(here).metrics.keys() == record_of(there).metrics.keys()
    for mine, other in zip(numbers_of(here), numbers_of(there), strict=True):
        assert {name: pytest.approx(value, rel=1e-2, abs=1e-4) for name, value in mine.items()} == other
    (log,) = trained.path.glob("pipelines_two/*/logs/pretrain.simmim/*_log.out")
    assert "loss" in log.read_text()
    assert "[rank 1]" not in log.read_text(), "only the main process speaks"


def test_a_killed_rank_ends_its_stage_in_words_and_leaves_no_process(trained: Bench) -> None:
    (trained.path / "pipeline.yaml").write_text(pipeline(epochs=400))
    launcher = trained.start("pipeline", "submit", "pipeline.yaml", "--cluster", "two.yaml")
    trained.wait_for(
        lambda: (trained.path / "pipelines").exists() and steps_of(trained, "pretrain.simmim") > 2, "steps"
    )
    attempt = trained.folder.read_attempt("pretrain.simmim")
    assert attempt is not None
    ranks = ranks_of(attempt.pid)
    assert ranks.keys() == {0, 1}
    os.kill(ranks[1], signal.SIGKILL)
    assert launcher.wait(60) == 1
    assert re.search(r"pretrain\.simmim failed: rank 1 on \S+ was killed by SIGKILL", trained.output(launcher))
    ended = trained.folder.read_attempt("pretrain.simmim")
    assert ended is not None
    assert ended.exit_code == 128 + signal.SIGKILL
    assert not any(alive(pid) for pid in ranks.values())
    assert members(launcher.pid) == []


def test_ranks_do_not_outlive_the_job_that_is_killed_above_them(trained: Bench) -> None:
    (trained.path / "pipeline.yaml").write_text(pipeline(epochs=400))
    launcher = trained.start("pipeline", "submit", "pipeline.yaml", "--cluster", "two.yaml")
    trained.wait_for(
        lambda: (trained.path / "pipelines").exists() and steps_of(trained, "pretrain.simmim") > 2, "steps"
    )
    attempt = trained.folder.read_attempt("pretrain.simmim")
    assert attempt is not None
    ranks = ranks_of(attempt.pid)
    os.kill(attempt.pid, signal.SIGKILL)
    assert launcher.wait(60) == 1
    trained.wait_for(lambda: not any(map(alive, ranks.values())), "the ranks die with their job")


@pytest.mark.slow
def test_all_ranks_stop_after_the_same_step_and_the_next_launch_goes_on(trained: Bench) -> None:
    (trained.path / "pipeline.yaml").write_text(pipeline(epochs=15))
    launcher = trained.start("pipeline", "submit", "pipeline.yaml", "--cluster", "two.yaml")
    trained.wait_for(
        lambda: (trained.path / "pipelines").exists() and steps_of(trained, "pretrain.simmim") > 2, "steps"
    )
    os.killpg(launcher.pid, signal.SIGINT)
    assert launcher.wait(60) == 130, trained.output(launcher)
    run = follow(trained.folder.announcement("pretrain.simmim"))
    stopped_at = last_checkpoint(run).step
    assert f"SIGTERM after step {stopped_at} of 45" in (record_of(run).error or "")
    assert 0 < stopped_at < 45
    again = trained.submit("--cluster", "two.yaml")
    assert again.returncode == 0, again.stdout
    steps = [line["step"] for line in numbers_of(run) if "loss" in line]
    assert steps == sorted(set(steps))
    assert steps[-1] == 45
    assert record_of(run).attempts == 2


def ask(bench: Bench, *command: str) -> str:
    return subprocess.run(command, env=bench.environment, capture_output=True, text=True, check=True).stdout


@pytest.mark.slow
def test_two_nodes_train_what_two_processes_train_through_a_stop_and_a_preemption(two_nodes: Bench) -> None:
    (two_nodes.path / "pipeline.yaml").write_text(pipeline(epochs=20))
    (two_nodes.path / "local.yaml").write_text("{executor: local, stages_at_once: 1, processes_per_stage: 2}")
    local = two_nodes.start(
        *["pipeline", "submit", "pipeline.yaml", "--cluster", "local.yaml", "--runs", "here", "--pipelines", "local"]
    )
    submitted = two_nodes.submit("--cluster", "slurm.yaml")
    assert submitted.returncode == 0, submitted.stdout
    stage = "pretrain.simmim"
    entry = two_nodes.folder.read_manifest().entry(stage)
    assert entry.job is not None
    assert ask(two_nodes, "squeue", "--noheader", "--format=%D", "--job", entry.job.id).strip() == "2"

    two_nodes.wait_for(lambda: steps_of(two_nodes, stage) > 2, "steps on two nodes")
    run = follow(two_nodes.folder.announcement(stage))
    ask(two_nodes, "scancel", "--signal=USR2", entry.job.id)
    two_nodes.wait_for(lambda: record_of(run).status == "preempted", "the stage saves and stops")
    stopped_at = last_checkpoint(run).step
    assert f"SIGUSR2 after step {stopped_at} of 60" in (record_of(run).error or "")
    two_nodes.wait_for(lambda: record_of(run).attempts == 2, "the same job begins again")
    two_nodes.wait_for(lambda: steps_of(two_nodes, stage) > stopped_at + 2, "it goes on")

    ask(two_nodes, "sbatch", "--partition=high", "--nodes=2", "--exclusive", "--output=/dev/null", "--wrap=true")
    two_nodes.wait_for(lambda: record_of(run).status == "completed", "it goes on after the preemption")
    assert record_of(run).attempts == 3
    assert two_nodes.folder.read_manifest().entry(stage).job == entry.job
    assert local.wait(60) == 0
    (undisturbed,) = (two_nodes.path / "here").glob("pretrain-*")
    assert_same_training(run, undisturbed)
    two_nodes.wait_for(lambda: (two_nodes.folder.report / "leaderboard.txt").is_file(), "the report")
