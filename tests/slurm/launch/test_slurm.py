"""The same pipelines on a real Slurm: two nodes that live for the length of the tests."""

from __future__ import annotations

import re
import subprocess

import pytest

from tests.slurm.bench import STAGES, TRAINED, Bench
from tests.slurm.jobs import jobs, queue, states, wait_until_empty

TWO_NODES = "{executor: slurm, partition: main, gpus_per_node: 0, nodes: 2, cpus_per_process: 1, time_limit: 10m}"


@pytest.mark.long
def test_jobs_keep_their_order_and_a_second_submit_runs_nothing(slurm_bench: Bench) -> None:
    submitted = slurm_bench.submit("--cluster", "slurm.yaml")
    assert submitted.returncode == 0, submitted.stdout
    assert wait_until_empty(slurm_bench) == dict.fromkeys(STAGES, "completed")
    at = {(found["stage"], found["event"]): found["at"] for found in slurm_bench.diary()}
    for seed in (0, 1):
        assert at[f"digits.simmim.seed{seed}", "begins"] > at["pretrain.simmim", "ends"]
    assert (slurm_bench.folder.report / "leaderboard.txt").is_file()

    before = jobs(slurm_bench)
    again = slurm_bench.submit("--cluster", "slurm.yaml")
    assert again.stdout.count("completed already") == len(STAGES)
    assert jobs(slurm_bench) == before
    assert slurm_bench.begun() == sorted(TRAINED)


@pytest.mark.long
def test_a_failed_parent_cancels_its_children_but_not_the_report_and_can_be_continued(slurm_bench: Bench) -> None:
    slurm_bench.fail("pretrain.simmim")
    slurm_bench.submit("--cluster", "slurm.yaml")
    found = wait_until_empty(slurm_bench)
    assert found["pretrain.simmim"] == "failed"
    assert found["digits.simmim.seed0"] == found["digits.simmim.seed1"] == "skipped"
    assert found["report"] == "completed"
    assert slurm_bench.begun() == ["digits.scratch.seed0", "digits.scratch.seed1", "pretrain.simmim"]

    slurm_bench.repair("pretrain.simmim")
    assert slurm_bench.mimbench("pipeline", "resume", "small").returncode == 0
    assert wait_until_empty(slurm_bench) == dict.fromkeys(STAGES, "completed")
    assert slurm_bench.begun() == sorted([*TRAINED, "pretrain.simmim"])
    assert "simmim" in (slurm_bench.folder.report / "leaderboard.txt").read_text()


@pytest.mark.long
def test_live_jobs_are_not_submitted_twice_and_cancel_ends_them_all(slurm_bench: Bench) -> None:
    slurm_bench.hold("pretrain.simmim")
    slurm_bench.submit("--cluster", "slurm.yaml")
    slurm_bench.pid_of("pretrain.simmim")
    slurm_bench.wait_for(lambda: states(slurm_bench)["digits.scratch.seed1"] == "completed", "scratch is done")
    slurm_bench.wait_for(lambda: len(queue(slurm_bench)) == 3, "its jobs have left the queue")
    assert states(slurm_bench)["pretrain.simmim"] == "running"
    assert states(slurm_bench)["digits.simmim.seed0"] == "queued"
    before, waiting = jobs(slurm_bench), queue(slurm_bench)
    again = slurm_bench.submit("--cluster", "slurm.yaml")
    assert again.stdout.count("live already") == 4  # the parent, its two children, the report
    assert jobs(slurm_bench) == before
    assert queue(slurm_bench) == waiting

    cancelled = slurm_bench.mimbench("pipeline", "cancel", "small")
    assert cancelled.returncode == 0, cancelled.stdout
    slurm_bench.wait_for(lambda: queue(slurm_bench) == [], "the queue is empty")
    assert states(slurm_bench)["pretrain.simmim"] == "stopped"

    slurm_bench.let_go("pretrain.simmim")
    slurm_bench.submit("--cluster", "slurm.yaml")
    assert wait_until_empty(slurm_bench) == dict.fromkeys(STAGES, "completed")


@pytest.mark.long
def test_a_stage_at_the_time_limit_goes_back_into_the_queue_as_long_as_it_gets_further(slurm_bench: Bench) -> None:
    slurm_bench.hold("pretrain.simmim")
    submitted = slurm_bench.submit("--cluster", "slurm.yaml", "seeds=[0]")
    assert submitted.returncode == 0, submitted.stdout
    job = jobs(slurm_bench)["pretrain.simmim"]["id"]
    for step in (3, 4, 5):
        slurm_bench.wait_for(
            lambda step=step: slurm_bench.step_of("pretrain.simmim") == step, f"it waits in step {step}"
        )
        command = ["scancel", "--signal=USR2", job]  # what Slurm sends before a limit
        subprocess.run(command, env=slurm_bench.environment, check=True)
    slurm_bench.wait_for(lambda: queue(slurm_bench) == [], "all have ended")
    assert [found["event"] for found in slurm_bench.diary("stops")] == ["stops on SIGUSR2"] * 3
    assert states(slurm_bench)["digits.simmim.seed0"] == "completed"
    assert jobs(slurm_bench)["pretrain.simmim"]["id"] == job


@pytest.mark.long
def test_two_pipelines_over_two_nodes_that_share_a_run_do_it_once(slurm_bench: Bench) -> None:
    """They lie in folders apart, so that the second job cannot be submitted behind the first and waits on its nodes."""
    (slurm_bench.path / "two.yaml").write_text(TWO_NODES)
    slurm_bench.hold("pretrain.simmim")
    slurm_bench.submit("--cluster", "two.yaml", "seeds=[0]")

    def main_begun() -> bool:
        return any((found["stage"], found["rank"]) == ("pretrain.simmim", 0) for found in slurm_bench.diary("begins"))

    slurm_bench.wait_for(main_begun, "the first is at work")
    other = slurm_bench.submit("--cluster", "two.yaml", "seeds=[0]", "name=other", "--pipelines", "others")
    assert other.returncode == 0, other.stdout
    logs = "others/other-*/logs/pretrain.simmim/*_0_log.out"

    def waits() -> bool:
        return any("waiting for the other process" in log.read_text() for log in slurm_bench.path.glob(logs))

    slurm_bench.wait_for(waits, "the second waits, and its other node with it")
    slurm_bench.let_go("pretrain.simmim")
    slurm_bench.wait_for(lambda: queue(slurm_bench) == [], "both have ended")
    for folder in ("pipelines", "others"):
        assert "slurm  4 completed" in slurm_bench.mimbench("pipeline", "list", "--pipelines", folder).stdout
    by_main = [found["stage"] for found in slurm_bench.diary("ends") if found["rank"] == 0]
    assert by_main.count("pretrain.simmim") == 1
    logs = slurm_bench.mimbench("pipeline", "logs", "small", "pretrain.simmim").stdout
    assert re.search(r"^# of another node: .*_1_log\.out$", logs, re.MULTILINE)


def test_a_refused_job_is_reported_in_slurm_s_words_without_a_traceback(slurm_bench: Bench) -> None:
    (slurm_bench.path / "wrong.yaml").write_text(
        "{executor: slurm, constraint: nothing_has_this, gpus_per_node: 0, cpus_per_process: 1, time_limit: 10m}"
    )
    refused = slurm_bench.submit("--cluster", "wrong.yaml")
    assert refused.returncode == 1
    assert "Invalid feature specification" in refused.stdout
    assert "Traceback" not in refused.stdout
