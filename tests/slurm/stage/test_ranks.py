"""Stages in several processes that really train: on this machine, and over the nodes of a real Slurm."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import mimbench
from benchmarks.runs.folder import follow
from tests.slurm.bench import Bench, alive, members
from tests.slurm.trained import SMALL, pipeline
from tests.support.processes import finished, launch
from tests.support.runs import (
    assert_close_training,
    assert_same_training,
    last_checkpoint,
    numbers_of,
    only_run,
    record_of,
)

TWO = "{executor: local, stages_at_once: 1, processes_per_stage: 2}"


@pytest.fixture
def trained(tmp_path: Path, small_digits: Path) -> Iterator[Bench]:
    assert small_digits == tmp_path / "small_digits"
    found = Bench(tmp_path, stub=None)
    (tmp_path / "two.yaml").write_text(TWO)
    yield found
    found.close()


def steps_of(bench: Bench, stage: str) -> int:
    """Return how many steps a running stage has logged."""
    try:
        return int(numbers_of(follow(bench.folder.announcement(stage)))[-1]["step"])
    except (ValueError, OSError, IndexError):
        return 0


def command_of(bench: Bench, stage: str, runs: Path) -> list[str]:
    """Return the command of a stage with its data's absolute path, and another place for its run."""
    argv = bench.folder.read_manifest().entry(stage).stage.argv
    kept = [word for word in argv if not word.startswith("data.root=")]
    place = kept.index("--announce")
    return [*kept[:place], *kept[place + 2 :], f"data.root={bench.path / 'small_digits'}", "--runs", str(runs)]


def trained_alone(bench: Bench, stage: str, runs: Path, *more: str) -> Path:
    """Do in one process, here, what a stage has done in several; return the run's folder."""
    assert mimbench.main([*command_of(bench, stage, runs), *more]) == 0
    return only_run(runs)


def ranks_of(job: int) -> dict[int, int]:
    """Return the process ids of a job's ranks, by rank."""
    found = {}
    for pid in Path(f"/proc/{job}/task/{job}/children").read_text().split():
        variables = dict(
            entry.split("=", 1) for entry in Path(f"/proc/{pid}/environ").read_text().split("\0") if "=" in entry
        )
        found[int(variables["RANK"])] = int(pid)
    return found


@pytest.mark.long
def test_a_killed_rank_ends_its_stage_in_words_and_leaves_no_process(trained: Bench) -> None:
    (trained.path / "pipeline.yaml").write_text(pipeline(400, SMALL))
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


@pytest.mark.long
def test_ranks_do_not_outlive_the_job_that_is_killed_above_them(bench: Bench) -> None:
    (bench.path / "two.yaml").write_text(TWO)
    bench.hold("pretrain.simmim")
    launcher = bench.start("pipeline", "submit", "pipeline.yaml", "--cluster", "two.yaml")
    bench.wait_for(lambda: bench.begun().count("pretrain.simmim") == 2, "both ranks begin")
    attempt = bench.folder.read_attempt("pretrain.simmim")
    assert attempt is not None
    ranks = ranks_of(attempt.pid)
    assert ranks.keys() == {0, 1}
    os.kill(attempt.pid, signal.SIGKILL)
    assert launcher.wait(60) == 1
    bench.wait_for(lambda: not any(map(alive, ranks.values())), "the ranks die with their job")


@pytest.mark.long
def test_two_processes_here_train_what_one_trains_through_a_stop_of_both_after_the_same_step(trained: Bench) -> None:
    (trained.path / "pipeline.yaml").write_text(pipeline(10, SMALL))
    launcher = trained.start("pipeline", "submit", "pipeline.yaml", "--cluster", "two.yaml")
    trained.wait_for(
        lambda: (trained.path / "pipelines").exists() and steps_of(trained, "pretrain.simmim") > 2, "steps"
    )
    os.killpg(launcher.pid, signal.SIGINT)
    assert launcher.wait(60) == 130, trained.output(launcher)
    two = follow(trained.folder.announcement("pretrain.simmim"))
    stopped_at = last_checkpoint(two).step
    assert f"SIGTERM after step {stopped_at} of 30" in (record_of(two).error or "")
    assert 0 < stopped_at < 30
    again = trained.submit("--cluster", "two.yaml")
    assert again.returncode == 0, again.stdout
    assert record_of(two).attempts == 2
    logs = [log.read_text() for log in trained.path.glob("pipelines/*/logs/pretrain.simmim/*_log.out")]
    (undisturbed,) = (text for text in logs if "continuing from step" in text)
    assert "loss" in undisturbed
    assert "[rank 1]" not in undisturbed, "only the main process speaks"

    here = trained.path / "here"
    assert_close_training(trained_alone(trained, "pretrain.simmim", here), two)
    # The fine-tunings start from encoders that differ by roundings, so they have different ids: those tell the encoder.
    encoder = next(here.glob("pretrain-*"))
    one = trained_alone(trained, "digits.simmim.seed0", trained.path / "tuned", "--encoder", str(encoder))
    tuned = follow(trained.folder.announcement("digits.simmim.seed0"))
    assert record_of(one).metrics.keys() == record_of(tuned).metrics.keys()
    for mine, other in zip(numbers_of(one), numbers_of(tuned), strict=True):
        assert {name: pytest.approx(value, rel=1e-2, abs=1e-4) for name, value in mine.items()} == other


def ask(bench: Bench, *command: str) -> str:
    return subprocess.run(command, env=bench.environment, capture_output=True, text=True, check=True).stdout


@pytest.mark.long
def test_two_nodes_train_what_two_processes_train_through_a_stop_and_a_preemption(two_nodes: Bench) -> None:
    (two_nodes.path / "pipeline.yaml").write_text(pipeline(20, SMALL))
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
    undisturbed = launch(command_of(two_nodes, stage, two_nodes.path / "here"))
    assert [code for code, _, _ in finished(undisturbed)] == [0, 0]
    assert_same_training(run, only_run(two_nodes.path / "here"))
    two_nodes.wait_for(lambda: (two_nodes.folder.report / "leaderboard.txt").is_file(), "the report")
