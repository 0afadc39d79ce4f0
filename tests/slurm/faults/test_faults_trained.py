"""Real trainings through what a cluster does to them: the numbers are those of an undisturbed run, to the bit.

A fault finds the training in a step that waits for it (tests.slurm.held.held_pretrain), so it never comes late. What
follows from a pretraining is cancelled, but in the first test: test_faults.py has it follow every fault, at no cost.
"""

from __future__ import annotations

import functools
import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from benchmarks.runs.folder import follow
from tests.slurm.bench import HELD, Bench
from tests.slurm.conftest import open_slurm_bench
from tests.slurm.faults.injected import nodes_of, slurm
from tests.slurm.held.held_pretrain import HELD_AFTER
from tests.slurm.jobs import jobs, states, wait_until_empty
from tests.slurm.throwaway_cluster import Cluster
from tests.slurm.trained import pipeline
from tests.support.disk import grow, small_disk
from tests.support.processes import finished
from tests.support.processes import launch as start_ranks
from tests.support.runs import assert_same_training, only_run, record_of
from tests.support.small import cut_digits

pytestmark = pytest.mark.faults
STAGE = "pretrain.simmim"
EPOCHS = 3
"""Of three steps each; every second one is saved."""
SAVED = HELD_AFTER - 1
"""The last step in a checkpoint while the training is held."""
CLUSTER = "cpus_per_process: 1"

Undisturbed = Callable[[int], Path]
"""Returns the run folder of the same training in so many ranks, without Slurm and without any fault."""


@pytest.fixture(scope="module")
def undisturbed(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    folder = tmp_path_factory.mktemp("undisturbed")
    data = cut_digits(digits, folder / "small_digits")
    stage = yaml.safe_load(pipeline(EPOCHS))["pretrain"]["simmim"]
    command = ["pretrain", stage["recipe"], *stage["overrides"], f"data.root={data}"]

    @functools.cache
    def train(ranks: int) -> Path:
        runs = folder / f"{ranks} ranks"
        ends = finished(start_ranks([*command, "--runs", str(runs)], ranks))
        assert [code for code, *_ in ends] == [0] * ranks, ends
        return only_run(runs)

    return train


@pytest.fixture
def bench(small_digits: Path, cluster: Cluster) -> Iterator[Bench]:
    with open_slurm_bench(small_digits.parent, cluster.environment, stub=HELD) as found:
        yield found


def submit(bench: Bench, *options: str, cluster: str = CLUSTER) -> None:
    (bench.path / "pipeline.yaml").write_text(pipeline(EPOCHS))
    (bench.path / "cluster.yaml").write_text(f"{{executor: slurm, gpus_per_node: 0, time_limit: 10m, {cluster}}}")
    submitted = bench.submit("--cluster", "cluster.yaml", *options)
    assert submitted.returncode == 0, submitted.stdout


def submit_pretraining(bench: Bench, *options: str, cluster: str = CLUSTER) -> None:
    submit(bench, *options, cluster=cluster)
    cancel_what_follows(bench)


def resume_pretraining(bench: Bench) -> None:
    assert bench.mimbench("pipeline", "resume", "trained").returncode == 0
    cancel_what_follows(bench)


def cancel_what_follows(bench: Bench) -> None:
    slurm(bench, "scancel", *(job["id"] for stage, job in jobs(bench).items() if stage != STAGE))


def launch(bench: Bench, *options: str, cluster: str = CLUSTER, ranks: int = 1) -> Path:
    """Submit a pretraining; return its run folder when all ranks wait after the same step."""
    bench.hold(STAGE)
    submit_pretraining(bench, *options, cluster=cluster)
    return wait_until_held(bench, ranks)


def wait_until_held(bench: Bench, ranks: int) -> Path:
    bench.wait_for(lambda: held(bench).keys() == {*range(ranks)}, "all ranks wait after the same step")
    return follow(bench.folder.announcement(STAGE))


def held(bench: Bench) -> dict[int, int]:
    """Return the process ids of the ranks that wait, by rank."""
    return {found["rank"]: found["pid"] for found in bench.diary("held")}


def assert_nothing_lost(bench: Bench, run: Path, reference: Path, *went_on_from: int) -> None:
    """The pretraining is done; it was begun once more from each of these steps, and its numbers do not show it."""
    assert wait_until_empty(bench)[STAGE] == "completed"
    assert record_of(run).attempts == 1 + len(went_on_from)
    steps = re.findall(r"^continuing from step (\d+) of", log_of(bench), re.MULTILINE)
    assert [int(step) for step in steps] == [*went_on_from]
    assert_as_undisturbed(run, reference)


def assert_as_undisturbed(run: Path, reference: Path) -> None:
    assert run.name == reference.name  # the same request: recipe, data and seed
    assert_same_training(run, reference)
    assert record_of(run).metrics == record_of(reference).metrics
    assert record_of(run).exported_sha256 == record_of(reference).exported_sha256


def log_of(bench: Bench) -> str:
    """Return the log of all starts of the pretraining's last job."""
    return bench.mimbench("pipeline", "logs", "trained", STAGE).stdout


def test_without_any_fault_the_table_is_that_of_this_machine(small_digits: Path, cluster: Cluster) -> None:
    """The pretraining on two nodes, the transfer on one, the report in another partition; here, all in one process."""
    profiles = "profiles: {two: {nodes: 2}, cpu: {partition: cpu, time_limit: 5m}}, report: cpu"
    with open_slurm_bench(small_digits.parent, cluster.environment, stub=None) as bench:
        submit(bench, "pretrain.simmim.resources=two", cluster=f"{CLUSTER}, partition: main, {profiles}")
        assert set(wait_until_empty(bench).values()) == {"completed"}
        (pretrained,) = (bench.path / "runs").glob("pretrain-*")
        assert record_of(pretrained).processes == 2
        here = bench.submit("--runs", "here", "--pipelines", "local")
        assert here.returncode == 0, here.stdout
        (local,) = (bench.path / "local").glob("*/report/leaderboard.txt")
        there, here_too = (bench.folder.report / "leaderboard.txt").read_text(), local.read_text()
        # The overview and the scores, without the time of the trainings; below them stand further times.
        upper = [re.sub(r"[\d?]+ \+ \d+ s", "", text.split("Start")[0]) for text in (there, here_too)]
        assert "top1" in upper[0]
        assert upper[0] == upper[1]


def test_a_killed_training(bench: Bench, undisturbed: Undisturbed) -> None:
    run = launch(bench)
    os.kill(held(bench)[0], signal.SIGKILL)
    bench.let_go(STAGE)
    assert_nothing_lost(bench, run, undisturbed(1), SAVED)


def test_a_killed_loader_process(bench: Bench, undisturbed: Undisturbed) -> None:
    run = launch(bench, "pretrain.simmim.overrides=" + with_workers())
    pid = held(bench)[0]
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    loader = next(pid for pid in children if "resource_tracker" not in Path(f"/proc/{pid}/cmdline").read_text())
    os.kill(int(loader), signal.SIGKILL)
    bench.wait_for(lambda: record_of(run).status == "failed", "the training finds out")
    bench.let_go(STAGE)
    assert_nothing_lost(bench, run, undisturbed(1), SAVED)


def with_workers() -> str:
    overrides = yaml.safe_load(pipeline(EPOCHS))["pretrain"]["simmim"]["overrides"]
    return json.dumps([*overrides, "training.workers=1"])


def test_a_rank_that_hangs(bench: Bench, undisturbed: Undisturbed) -> None:
    """SIGSTOP: its process lives, and answers nothing. The other rank waits for it as long as its environment says."""
    cluster = "nodes: 2, cpus_per_process: 1, setup: [export MIMBENCH_PEER_TIMEOUT_S=8]"
    run = launch(bench, cluster=cluster, ranks=2)
    os.kill(held(bench)[1], signal.SIGSTOP)
    bench.let_go(STAGE)
    assert_nothing_lost(bench, run, undisturbed(2), SAVED)


def test_a_lost_node_is_replaced(bench: Bench, cluster: Cluster, undisturbed: Undisturbed) -> None:
    """It has one of the two ranks, and not the batch script; the third node is spare. All that follows is done too."""
    bench.hold(STAGE)
    submit(bench, cluster="nodes: 2, cpus_per_process: 1")
    run, job = wait_until_held(bench, ranks=2), jobs(bench)[STAGE]["id"]
    name = nodes_of(bench, job)[-1]
    cluster.lose_node(name)
    try:
        bench.let_go(STAGE)
        assert_nothing_lost(bench, run, undisturbed(2), SAVED)
        assert set(states(bench).values()) == {"completed"}
        assert jobs(bench)[STAGE]["id"] == job
        assert name not in slurm(bench, "sinfo", "-h", "-o%N", "--states=idle")
    finally:
        cluster.start_node(name)
        cluster.wait_for_nodes()


@pytest.mark.parametrize("how", ["preempted", "requeued"])
def test_a_training_that_must_give_way(bench: Bench, undisturbed: Undisturbed, how: str) -> None:
    run = launch(bench, cluster="partition: main, cpus_per_process: 1")
    if how == "preempted":
        slurm(bench, *["sbatch", "--partition=high", "--nodes=3", "--exclusive", "--output=/dev/null", "--wrap=true"])
    else:
        slurm(bench, "scontrol", "requeue", jobs(bench)[STAGE]["id"])
    assert_saved_and_went_on(bench, run, "SIGTERM", undisturbed(1))


def test_a_real_time_limit(bench: Bench, undisturbed: Undisturbed) -> None:
    """Slurm looks every 30 s which jobs are near their limit: one of a minute may get its notice as soon as it begins.

    So the limit is set when the training has begun, and lifted when that has stopped.
    """
    run = launch(bench, cluster="cpus_per_process: 1, stop_notice_s: 30")
    limited = ["scontrol", "update", f"JobId={jobs(bench)[STAGE]['id']}"]
    slurm(bench, *limited, "TimeLimit=1")
    bench.wait_for(lambda: record_of(run).status == "preempted", "Slurm has announced that the limit is near")
    slurm(bench, *limited, "TimeLimit=10")
    assert_saved_and_went_on(bench, run, "SIGUSR2", undisturbed(1))


def assert_saved_and_went_on(bench: Bench, run: Path, notice: str, reference: Path) -> None:
    """It stopped on a signal of Slurm's in the step where it was held, and no step was done twice."""
    bench.wait_for(lambda: record_of(run).attempts == 2, "it begins again")
    bench.let_go(STAGE)
    assert_nothing_lost(bench, run, reference, HELD_AFTER)
    log = log_of(bench)
    assert f"{notice}: saving after this step" in log
    assert f"stopped: {notice} after step {HELD_AFTER} of" in log


def test_a_disk_that_is_full_while_a_checkpoint_is_written(bench: Bench, undisturbed: Undisturbed) -> None:
    """A state has 37 MB, 12 before the first step: there is room for those of the steps 0, 2 and 4, but not for 6."""
    with small_disk(bench.path / "runs", size_mb=90) as disk:
        submit_pretraining(bench)
        assert wait_until_empty(bench)[STAGE] == "failed"
        assert "no room to write" in bench.mimbench("pipeline", "status", "trained").stdout
        run = follow(bench.folder.announcement(STAGE))
        assert "checkpoints/step_000000006: 36.9 MB needed" in (record_of(run).error or "")
        grow(disk, size_mb=200)
        resume_pretraining(bench)
        assert_nothing_lost(bench, run, undisturbed(1), 4)


def test_a_truncated_record_of_a_finished_run(bench: Bench, undisturbed: Undisturbed) -> None:
    submit_pretraining(bench)
    assert wait_until_empty(bench)[STAGE] == "completed"
    run = follow(bench.folder.announcement(STAGE))
    assert_as_undisturbed(run, undisturbed(1))
    os.truncate(run / "record.json", (run / "record.json").stat().st_size // 2)
    assert states(bench)[STAGE] == "failed"
    resume_pretraining(bench)
    assert wait_until_empty(bench)[STAGE] == "completed"
    assert_as_undisturbed(run, undisturbed(1))
