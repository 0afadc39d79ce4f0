"""What a cluster does to pipelines: every fault on a real Slurm, with stages that cost nothing.

What is trained through such faults is compared with an undisturbed run in test_faults_trained.py.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.config import find_recipe
from slurm.graph.cluster import SlurmCluster, load_cluster
from slurm.launch.sbatch import SlurmLauncher
from slurm.launch.snapshot import PARTS
from tests.slurm.bench import STUB, Bench, alive
from tests.slurm.conftest import open_slurm_bench
from tests.slurm.faults.injected import STAGE, assert_done_by, launch, nodes_of, slurm, write_cluster
from tests.slurm.jobs import jobs, queue, wait_until_empty
from tests.slurm.throwaway_cluster import Cluster
from tests.support.command import ROOT

pytestmark = pytest.mark.faults
SAVED_AFTER_S = 8
"""slurmctld writes new jobs down after at most 5 s; those of the last seconds die with it."""


@pytest.fixture
def bench(tmp_path: Path, cluster: Cluster) -> Iterator[Bench]:
    with open_slurm_bench(tmp_path, cluster.environment) as found:
        yield found


def queue_or_none(bench: Bench) -> list[str]:
    """Return the queue; empty while Slurm does not answer."""
    try:
        return queue(bench)
    except subprocess.CalledProcessError:
        return []


def test_a_stage_that_always_crashes_is_started_again_a_bounded_number_of_times(bench: Bench) -> None:
    (bench.desk / f"{STAGE}.crash").touch()
    job = launch(bench)
    found = wait_until_empty(bench)
    assert found[STAGE] == "failed"
    assert found["digits.simmim.seed0"] == "skipped"
    assert found["digits.scratch.seed0"] == found["report"] == "completed"
    assert bench.begun().count(STAGE) == 3
    assert jobs(bench)[STAGE]["id"] == job
    status = bench.mimbench("pipeline", "status", "small").stdout
    assert "ZeroDivisionError: a bug (exit code 70); given up after 3 starts without a new checkpoint" in status


def test_a_crash_that_got_further_does_not_count(bench: Bench) -> None:
    (bench.desk / f"{STAGE}.crash").write_text("saves")
    job = launch(bench, "fruitless_restarts: 0")
    assert_done_by(bench, job, beginnings=6)  # each of the 5 steps once, then nothing is left to do


def test_a_failure_that_has_a_name_is_final(bench: Bench) -> None:
    bench.fail(STAGE)
    launch(bench)
    assert wait_until_empty(bench)[STAGE] == "failed"
    assert bench.begun().count(STAGE) == 1


def test_a_request_that_became_wrong_while_it_waited_is_final(bench: Bench) -> None:
    """Its recipe was edited."""
    recipe = bench.path / "mine.yaml"
    pipeline = bench.path / "pipeline.yaml"
    recipe.write_bytes(find_recipe("transfer", "digits_finetune").read_bytes())
    pipeline.write_text(pipeline.read_text().replace("digits_finetune", "./mine.yaml"))
    bench.hold(STAGE)
    launch(bench)
    bench.pid_of(STAGE)
    recipe.write_text("broken: 1")
    bench.let_go(STAGE)
    assert wait_until_empty(bench)["digits.simmim.seed0"] == "failed"
    attempt = bench.folder.read_attempt("digits.simmim.seed0")
    assert attempt is not None
    assert (attempt.exit_code, attempt.job) == (2, f"{jobs(bench)['digits.simmim.seed0']['id']}.0")


def test_a_killed_stage_begins_again_in_the_same_job(bench: Bench) -> None:
    bench.hold(STAGE)
    job = launch(bench)
    os.kill(bench.pid_of(STAGE), signal.SIGKILL)
    bench.wait_for(lambda: bench.begun().count(STAGE) == 2, "it begins again")
    bench.let_go(STAGE)
    assert_done_by(bench, job, beginnings=2)


def test_a_stage_that_hangs_ends_before_the_time_limit_and_begins_again(bench: Bench) -> None:
    """It ignores the notice; its log says where it hung."""
    (bench.desk / f"{STAGE}.hang").touch()
    job = launch(bench, "time_limit: 1m", "stop_notice_s: 30")
    bench.wait_for(lambda: bench.step_of(STAGE) == 3, "it hangs in step 3")
    (bench.desk / f"{STAGE}.hang").unlink()
    assert_done_by(bench, job, beginnings=2)
    log = bench.mimbench("pipeline", "logs", "small", STAGE).stdout
    assert re.search(r'^  File ".*cheap_stage.py", line \d+ in _hang$', log, re.MULTILINE)
    assert "TIME LIMIT" not in log


def test_a_rank_killed_on_the_other_node_begins_again_with_all_others(bench: Bench) -> None:
    bench.hold(STAGE)
    job = launch(bench, "nodes: 2")
    bench.wait_for(lambda: bench.begun().count(STAGE) == 2, "both ranks are at work")
    first = {found["rank"]: found["pid"] for found in bench.diary("begins") if found["stage"] == STAGE}
    os.kill(first[1], signal.SIGKILL)
    bench.wait_for(lambda: bench.begun().count(STAGE) == 4, "both begin again")
    assert not any(alive(pid) for pid in first.values())
    log = bench.mimbench("pipeline", "logs", "small", STAGE).stdout
    assert re.search(r"^rank 1 on n\d was killed by SIGKILL$", log, re.MULTILINE)
    bench.let_go(STAGE)
    assert_done_by(bench, job, beginnings=2)


def test_a_lost_node_is_replaced(bench: Bench, cluster: Cluster) -> None:
    """The one with the batch script; the third is spare. One that only has ranks is lost in test_faults_trained.py."""
    bench.hold(STAGE)
    job = launch(bench, "nodes: 2")
    bench.wait_for(lambda: bench.begun().count(STAGE) == 2, "both ranks are at work")
    name = nodes_of(bench, job)[0]
    cluster.lose_node(name)
    try:
        bench.wait_for(lambda: bench.begun().count(STAGE) >= 4, "both begin again")
        bench.let_go(STAGE)
        assert_done_by(bench, job, beginnings=2)
        assert name not in slurm(bench, "sinfo", "-h", "-o%N", "--states=idle")
    finally:
        cluster.start_node(name)
        cluster.wait_for_nodes()


def test_slurm_s_own_death_does_not_reach_a_stage(bench: Bench, cluster: Cluster) -> None:
    bench.hold(STAGE)
    job = launch(bench)
    bench.pid_of(STAGE)
    time.sleep(SAVED_AFTER_S)
    for daemon in ("slurmctld", *cluster.nodes):
        cluster.kill(daemon)
    blind = bench.mimbench("pipeline", "status", "small")
    assert blind.returncode == 0
    assert f"{STAGE} " in blind.stdout
    assert "from files alone" in blind.stdout
    cluster.start_controller()
    for name in cluster.nodes:
        cluster.start_node(name)
    bench.wait_for(lambda: job in queue_or_none(bench), "Slurm answers, and knows the job")
    bench.let_go(STAGE)
    assert_done_by(bench, job, beginnings=1)


@pytest.mark.parametrize("how", ["preempted", "requeued"])
def test_a_stage_that_must_give_way_comes_back(bench: Bench, how: str) -> None:
    bench.hold(STAGE)
    job = launch(bench, "partition: main")
    bench.wait_for(lambda: bench.step_of(STAGE) == 3, "it waits in step 3")
    if how == "preempted":
        slurm(bench, *["sbatch", "--partition=high", "--nodes=3", "--exclusive", "--output=/dev/null", "--wrap=true"])
    else:
        slurm(bench, "scontrol", "requeue", job)
    bench.wait_for(lambda: bench.begun().count(STAGE) == 2, "it begins again")
    bench.let_go(STAGE)
    assert_done_by(bench, job, beginnings=2)
    assert [found["event"] for found in bench.diary("stops")] == ["stops on SIGTERM"]


def test_scancel_is_final(bench: Bench) -> None:
    bench.hold(STAGE)
    job = launch(bench)
    bench.pid_of(STAGE)
    slurm(bench, "scancel", job)
    found = wait_until_empty(bench)
    assert (found[STAGE], found["digits.simmim.seed0"]) == ("stopped", "skipped")
    assert bench.begun().count(STAGE) == 1


def test_a_submit_killed_between_two_stages_is_finished_by_the_next(bench: Bench) -> None:
    """At its second call of sbatch, which is lost with it."""
    shim = bench.path / "bin" / "sbatch"
    shim.parent.mkdir()
    shim.write_text(
        '#!/bin/sh\n[ -e calls ] && kill -KILL $PPID && exit\ntouch calls\nPATH="${PATH#*:}" exec sbatch "$@"\n'
    )
    shim.chmod(0o755)
    path = bench.environment["PATH"]
    bench.environment["PATH"] = f"{shim.parent}:{path}"
    bench.hold(STAGE)
    write_cluster(bench)
    assert bench.submit("--cluster", "cluster.yaml", "seeds=[0]").returncode == -signal.SIGKILL
    assert len(queue(bench)) == 1
    bench.environment["PATH"] = path
    job = launch(bench)
    bench.let_go(STAGE)
    assert_done_by(bench, job, beginnings=1)


def test_two_submits_at_once_submit_every_stage_once(bench: Bench) -> None:
    write_cluster(bench)
    bench.hold(STAGE)
    both = [
        bench.start("pipeline", "submit", "pipeline.yaml", "--cluster", "cluster.yaml", "seeds=[0]") for _ in range(2)
    ]
    codes = sorted(process.wait(60) for process in both)
    assert codes in ([0, 0], [0, 2]), [bench.output(process) for process in both]
    assert len(queue(bench)) <= 4
    bench.let_go(STAGE)
    assert_done_by(bench, jobs(bench)[STAGE]["id"], beginnings=1)


def test_a_truncated_manifest_is_made_again_without_running_anything_twice(bench: Bench) -> None:
    bench.hold(STAGE)
    job = launch(bench)
    bench.pid_of(STAGE)
    os.truncate(bench.folder.manifest, bench.folder.manifest.stat().st_size // 2)
    assert launch(bench) == job
    bench.let_go(STAGE)
    assert_done_by(bench, job, beginnings=1)


def test_a_child_whose_failed_parent_slurm_has_forgotten_does_not_run(bench: Bench) -> None:
    bench.fail(STAGE)
    job = launch(bench)
    wait_until_empty(bench)
    forgotten = ["scontrol", "show", "job", job]
    bench.wait_for(lambda: subprocess.run(forgotten, env=bench.environment, capture_output=True).returncode == 1, job)
    manifest = bench.folder.read_manifest()
    child = manifest.pipeline.stage("digits.simmim.seed0")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in bench.environment.items():
            patch.setenv(name, value)
        asked = load_cluster(str(bench.path / "cluster.yaml"))
        assert isinstance(asked, SlurmCluster)
        launcher = SlurmLauncher(bench.folder, manifest, {child.name: asked}, array_size=1)
        launcher.submit([child], [job])
    found = wait_until_empty(bench)
    assert found[child.name] == "skipped"
    assert child.name not in bench.begun()


def test_a_stage_runs_the_code_that_was_submitted(bench: Bench) -> None:
    """The checkout breaks while the children are in the queue; the built-in recipe that they follow is edited."""
    checkout = bench.path / "checkout"
    checkout.mkdir()
    for part in PARTS:
        (shutil.copytree if (ROOT / part).is_dir() else shutil.copyfile)(ROOT / part, checkout / part)
    bench.environment["PYTHONPATH"] = os.pathsep.join([str(STUB), str(checkout), str(ROOT)])
    bench.hold(STAGE)
    job = launch(bench)
    bench.pid_of(STAGE)
    (checkout / "benchmarks" / "tasks.py").write_text("raise SystemExit('the new code')")
    (checkout / "benchmarks" / "recipes" / "transfer" / "digits_finetune.yaml").write_text("{}")
    bench.environment["PYTHONPATH"] = os.pathsep.join([str(STUB), str(ROOT)])
    bench.let_go(STAGE)
    assert_done_by(bench, job, beginnings=1)
    (code,) = (bench.folder.path / "code").iterdir()
    assert sum(path.stat().st_size for path in code.rglob("*.py")) < 4e6


def test_a_node_whose_clock_is_wrong_names_the_same_cause(bench: Bench) -> None:
    """The second node is an hour behind: by the clocks its rank was killed before the stage began."""
    bench.hold(STAGE)
    bench.environment["SLOW_CLOCK"] = "1"
    job = launch(bench, "nodes: 2")
    bench.wait_for(lambda: bench.begun().count(STAGE) == 2, "both ranks are at work")
    ranks = {found["rank"]: found for found in bench.diary("begins") if found["stage"] == STAGE}
    assert ranks[0]["at"] - ranks[1]["at"] > 3000
    os.kill(ranks[1]["pid"], signal.SIGKILL)
    bench.wait_for(lambda: bench.begun().count(STAGE) == 4, "both begin again")
    log = bench.mimbench("pipeline", "logs", "small", STAGE).stdout
    assert re.search(r"^rank 1 on n\d was killed by SIGKILL$", log, re.MULTILINE)
    bench.let_go(STAGE)
    assert_done_by(bench, job, beginnings=2)
