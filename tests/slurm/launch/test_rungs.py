"""Sweeps with rungs, launched: here and on Slurm, with members that fail, are killed, and are pruned."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import yaml

import mimbench
from benchmarks.runs.folder import follow
from tests.slurm.bench import Bench
from tests.slurm.jobs import states, wait_until_empty
from tests.slurm.trained import PRETRAIN, SMALL, TRANSFER
from tests.support.runs import assert_same_training, only_run, record_of

RATES = [0.004, 0.003, 0.002, 0.001]
FIRST, SECOND, THIRD, BEST = [f"pretrain.rate-base_lr={rate}" for rate in RATES]
"""In the order of the file; a cheap stage's held-out loss is its learning rate."""
STUDY: dict[str, Any] = {
    "name": "small",
    "pretrain": {
        "rate": {
            "recipe": "digits_simmim",
            "data": "data",
            "sweep": {"training.schedule.base_lr": RATES},
            "rungs": [0.2, 0.4],
            "keep": 0.5,
        }
    },
    "encoders": {"rate": {"from": "pretrain.rate"}, "scratch": {"ref": "random:digits_swin"}},
    "tasks": {"digits": {"recipe": "digits_finetune", "data": "data"}},
    "seeds": [0],
    "baseline": "scratch",
}


@pytest.fixture
def rungs(bench: Bench) -> Bench:
    (bench.path / "pipeline.yaml").write_text(yaml.safe_dump(STUDY))
    return bench


def transfer(member: str) -> str:
    return f"digits.{member.removeprefix('pretrain.')}.seed0"


def outcomes(bench: Bench, share: float) -> dict[str, str]:
    decision = json.loads((bench.folder.path / "rungs" / f"rate@{share}.json").read_text())
    return {f"pretrain.{one['name']}": one["outcome"] for one in decision["members"]}


def pruned(bench: Bench, member: str) -> str | None:
    return record_of(follow(bench.folder.announcement(f"{member}@0.2"))).pruned


@pytest.mark.long
def test_members_that_fail_are_killed_or_pruned_and_a_second_launch_goes_on(rungs: Bench) -> None:
    rungs.fail(f"{FIRST}@0.2")
    rungs.hold(BEST)
    launcher = rungs.start("pipeline", "submit", "pipeline.yaml")
    os.kill(rungs.pid_of(BEST), signal.SIGKILL)
    assert launcher.wait(120) == 1, rungs.output(launcher)
    assert outcomes(rungs, 0.2) == {FIRST: "failed", SECOND: "pruned", THIRD: "kept", BEST: "kept"}
    assert outcomes(rungs, 0.4) == {THIRD: "pruned", BEST: "kept"}
    found = states(rungs)
    expected = {f"{FIRST}@0.2": "failed", f"{FIRST}@0.4": "skipped", FIRST: "skipped", transfer(FIRST): "skipped"}
    expected |= {f"{SECOND}@0.2": "completed", f"{SECOND}@0.4": "pruned", SECOND: "pruned", transfer(SECOND): "pruned"}
    expected |= {f"{THIRD}@0.4": "completed", THIRD: "pruned", transfer(THIRD): "pruned"}
    expected |= {BEST: "failed", transfer(BEST): "skipped", "rung.rate@0.4": "completed", "report": "completed"}
    assert {name: found[name] for name in expected} == expected
    begun = rungs.begun()
    assert begun.count(f"{SECOND}@0.4") == begun.count(THIRD) == begun.count(transfer(SECOND)) == 0

    rungs.repair(f"{FIRST}@0.2")
    rungs.let_go(BEST)
    again = rungs.submit()
    assert again.returncode == 0, again.stdout  # what a rung ended is no failure
    assert set(states(rungs).values()) == {"completed", "pruned"}
    assert outcomes(rungs, 0.2) == {FIRST: "pruned", SECOND: "pruned", THIRD: "kept", BEST: "kept"}
    assert sorted(set(rungs.begun()) - set(begun)) == [transfer(BEST)]
    repeated = sorted(stage for stage in set(begun) if rungs.begun().count(stage) > begun.count(stage))
    assert repeated == [BEST, f"{FIRST}@0.2"]
    why = pruned(rungs, SECOND)
    assert why is not None
    assert "held-out loss 0.003 after epoch 12 is number 3 of 4; 2 go on" in why
    assert pruned(rungs, BEST) is None
    table = " ".join((rungs.folder.report / "leaderboard.txt").read_text().split())
    assert "3 left out (3 pruned by a rung)" in table
    assert table.count("pruned by a rung: rate-base_lr=") == 3

    diary = rungs.diary()
    last = rungs.submit()
    assert (last.returncode, rungs.diary()) == (0, diary)
    assert "nothing was left to do" in last.stdout
    plan = rungs.mimbench("pipeline", "plan", "pipeline.yaml").stdout
    # Two parts and a transfer of each of two members, one part and a transfer of the third.
    numbers = "8 stages, whose cost is unknown: 4 members, 2 after 0.2, 1 after 0.4"
    assert f"the rungs of rate save {numbers}" in plan
    assert "mimbench pretrain" not in plan.partition("commands:")[2]


@pytest.mark.long
def test_on_slurm_what_a_rung_ended_gets_no_node(slurm_bench: Bench) -> None:
    sweep = {"training.schedule.base_lr": [0.004, 0.003, 0.001]}
    rate = {**STUDY["pretrain"]["rate"], "sweep": sweep, "rungs": [0.2], "keep": 0.34}
    (slurm_bench.path / "pipeline.yaml").write_text(yaml.safe_dump({**STUDY, "pretrain": {"rate": rate}}))
    slurm_bench.fail(f"{FIRST}@0.2")
    submitted = slurm_bench.submit("--cluster", "slurm.yaml")
    assert submitted.returncode == 0, submitted.stdout
    found = wait_until_empty(slurm_bench)
    assert found[f"{FIRST}@0.2"] == "failed"
    expected = {FIRST: "skipped", transfer(FIRST): "skipped", SECOND: "pruned", transfer(SECOND): "pruned"}
    expected |= {BEST: "completed", transfer(BEST): "completed", "report": "completed"}
    assert {name: found[name] for name in expected} == expected
    assert slurm_bench.folder.read_attempt(SECOND) is None  # their jobs never began
    assert slurm_bench.folder.read_attempt(transfer(SECOND)) is None

    slurm_bench.repair(f"{FIRST}@0.2")
    resumed = slurm_bench.mimbench("pipeline", "resume", "small")
    assert resumed.returncode == 0, resumed.stdout
    found = wait_until_empty(slurm_bench)
    assert set(found.values()) == {"completed", "pruned"}, found
    assert (found[FIRST], slurm_bench.begun().count(BEST)) == ("pruned", 1)
    again = slurm_bench.submit("--cluster", "slurm.yaml").stdout.split()
    assert "submitted" not in again
    assert again.count("pruned") == 4  # the last parts of two members, and their transfers


@pytest.mark.long
def test_the_member_that_is_kept_ends_as_it_would_have_alone(tmp_path: Path, small_digits: Path) -> None:
    """Real trainings under the real launcher, of which one is then repeated without rungs."""
    bench = Bench(tmp_path, stub=None)
    assert small_digits.parent == tmp_path
    more = [*PRETRAIN, *SMALL, "training.epochs=3", "validation={split: test, every_epochs: 1}"]
    pretrain = {"recipe": "digits_simmim", "data": "small_digits", "overrides": more, "rungs": [0.3], "keep": 0.34}
    pretrain["sweep"] = {"training.schedule.base_lr": [1e-8, 1e-3, 1e-7]}
    task = {"recipe": "digits_finetune", "data": "small_digits", "overrides": TRANSFER}
    study = {**STUDY, "pretrain": {"rate": pretrain}, "encoders": {"rate": {"from": "pretrain.rate"}}}
    study |= {"tasks": {"digits": task}, "baseline": "rate-base_lr=0.001"}
    (bench.path / "pipeline.yaml").write_text(yaml.safe_dump(study))
    try:
        done = bench.submit()
        assert done.returncode == 0, done.stdout
        assert "warning: baseline rate-base_lr=0.001: a rung may end" in done.stdout
        found = states(bench)
        assert [name for name, state in found.items() if state == "pruned" and name.startswith("pretrain")] == [
            "pretrain.rate-base_lr=1e-08",
            "pretrain.rate-base_lr=1e-07",
        ]
        stage = next(one for one in bench.folder.read_manifest().pipeline.stages if one.name == f"pretrain.{BEST[9:]}")
        argv = list(stage.argv)
        argv[argv.index("--runs") + 1] = str(tmp_path / "alone")
        argv = [word.replace("small_digits", str(small_digits)) for word in argv]
        argv[argv.index("--announce") + 1] = str(tmp_path / "alone.json")
        assert mimbench.main(argv) == 0
        alone, kept = only_run(tmp_path / "alone"), follow(bench.folder.announcement(stage.name))
        assert record_of(kept).exported_sha256 == record_of(alone).exported_sha256
        assert record_of(kept).metrics == record_of(alone).metrics
        assert_same_training(kept, alone)
    finally:
        bench.close()
