"""Launchers and stages on this machine that are stopped, killed, left behind, or two at once."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

from benchmarks.runs.folder import follow, read_record
from slurm.graph.cluster import LocalCluster
from slurm.launch.local import LocalLauncher
from slurm.launch.processes import StageProcess
from slurm.stage.request import Request
from slurm.stage.warm import Order
from slurm.terminal import PlainLines
from tests.slurm.bench import ONE_SEED, Bench, alive, members

TRAINED = ["pretrain.simmim", "digits.simmim.seed0", "digits.scratch.seed0"]


@pytest.fixture
def bench(bench: Bench) -> Bench:
    """One seed, which is enough for most: a stage costs two processes more than its own."""
    (bench.path / "pipeline.yaml").write_text(ONE_SEED)
    return bench


def test_a_killed_stage_is_failed_and_the_next_launch_goes_on_with_its_run(bench: Bench) -> None:
    bench.hold("pretrain.simmim")
    launcher = bench.start("pipeline", "submit", "pipeline.yaml")
    os.kill(bench.pid_of("pretrain.simmim"), signal.SIGKILL)
    assert launcher.wait(60) == 1
    why = "its process ended without saying why: was it killed, or out of memory?"
    assert f"pretrain.simmim failed: {why}" in bench.output(launcher)
    assert (bench.folder.report / "leaderboard.txt").is_file()
    assert members(launcher.pid) == []

    bench.let_go("pretrain.simmim")
    again = bench.submit()
    assert again.returncode == 0, again.stdout
    record = read_record(follow(bench.folder.announcement("pretrain.simmim")))
    assert record is not None
    assert record.attempts == 2


def test_a_hang_up_that_nohup_ignores_does_not_stop_a_launcher(bench: Bench) -> None:
    bench.hold("pretrain.simmim")
    bench.prefix = ["nohup"]
    launcher = bench.start("pipeline", "submit", "pipeline.yaml")
    bench.pid_of("pretrain.simmim")
    os.killpg(launcher.pid, signal.SIGHUP)
    bench.let_go("pretrain.simmim")
    assert launcher.wait(60) == 0, bench.output(launcher)


def test_a_second_launcher_is_refused_and_says_who_is_at_work(bench: Bench) -> None:
    bench.hold("pretrain.simmim")
    first = bench.start("pipeline", "submit", "pipeline.yaml")
    bench.pid_of("pretrain.simmim")
    second = bench.submit()
    assert second.returncode == 2
    assert f"process {first.pid} on " in second.stdout
    bench.let_go("pretrain.simmim")
    assert first.wait(60) == 0
    assert bench.begun() == sorted(TRAINED)


def test_ctrl_c_lets_stages_save_leaves_no_process_and_can_be_continued(bench: Bench) -> None:
    bench.hold("pretrain.simmim")
    launcher = bench.start("pipeline", "submit", "pipeline.yaml")
    stage = bench.pid_of("pretrain.simmim")
    os.killpg(launcher.pid, signal.SIGINT)  # what a terminal does: the whole foreground group gets it
    assert launcher.wait(60) == 130
    said = bench.output(launcher)
    assert "pretrain.simmim stopped: on request, at step 3 of 5" in said
    assert "The same command continues" in said
    assert [found["stage"] for found in bench.diary("stops on SIGTERM")] == ["pretrain.simmim"]
    assert not alive(stage)
    assert members(launcher.pid) == []

    bench.let_go("pretrain.simmim")
    assert bench.submit().returncode == 0
    assert len(bench.begun()) == len(TRAINED) + 1


@pytest.mark.parametrize("asked", [False, True])
def test_a_stage_whose_process_ends_before_it_begins_has_failed_unless_it_was_asked_to(
    bench: Bench, asked: bool
) -> None:
    assert bench.submit().returncode == 0
    manifest = bench.folder.read_manifest()
    bench.folder.forget_attempt(TRAINED[0])
    launcher = LocalLauncher(bench.folder, manifest, LocalCluster(executor="local"), PlainLines())
    order = Order(number=1, folder=".", stage=TRAINED[0], argv=(), request=Request(), log="log")
    ended = subprocess.Popen(["true"])
    ended.wait()
    launcher.processes[TRAINED[0]] = StageProcess(order, ended)
    launcher.stop_requests = int(asked)
    view = launcher._look()[TRAINED[0]]
    assert view.state == ("stopped" if asked else "failed")
    assert "before it began" in view.why


def test_a_stage_that_outlives_its_launcher_is_waited_for_not_run_twice(bench: Bench) -> None:
    bench.hold("pretrain.simmim")
    launcher = bench.start("pipeline", "submit", "pipeline.yaml")
    stage = bench.pid_of("pretrain.simmim")
    os.kill(launcher.pid, signal.SIGKILL)
    launcher.wait()
    assert alive(stage)

    second = bench.start("pipeline", "submit", "pipeline.yaml")
    bench.wait_for(lambda: "pretrain.simmim step 3/5" in bench.output(second), "the orphan is shown")
    bench.let_go("pretrain.simmim")
    assert second.wait(60) == 0, bench.output(second)
    assert bench.begun() == sorted(TRAINED)
    assert members(launcher.pid) == []


def test_cancel_stops_the_launcher_and_its_stages(bench: Bench) -> None:
    bench.hold("pretrain.simmim")
    launcher = bench.start("pipeline", "submit", "pipeline.yaml")
    stage = bench.pid_of("pretrain.simmim")
    cancelled = bench.mimbench("pipeline", "cancel", "small")
    assert cancelled.returncode == 0, cancelled.stdout
    assert launcher.wait(60) == 130
    assert not alive(stage)


def test_two_pipelines_that_share_a_run_do_it_once(bench: Bench) -> None:
    bench.hold("pretrain.simmim")
    first = bench.start("pipeline", "submit", "pipeline.yaml")
    bench.pid_of("pretrain.simmim")
    second = bench.start("pipeline", "submit", "pipeline.yaml", "name=other")
    waits = "pipelines/other-*/logs/pretrain.simmim/*_log.out"
    bench.wait_for(lambda: any("waiting for" in log.read_text() for log in bench.path.glob(waits)), "the other waits")
    bench.let_go("pretrain.simmim")
    assert [first.wait(60), second.wait(60)] == [0, 0], bench.output(second)
    assert bench.begun().count("pretrain.simmim") == 1
