"""Stages that are forked from one process: to the same bits as programs of their own, and apart from one another."""

from __future__ import annotations

import importlib
import importlib.util
import os
import signal
from pathlib import Path

import pytest

from benchmarks.catalogue.tasks import TASKS
from benchmarks.runs.folder import follow
from tests.slurm.bench import ONE_SEED, STUB, Bench, alive, members
from tests.slurm.trained import pipeline
from tests.support.command import mimbench
from tests.support.runs import assert_same_training, only_run

PRETRAIN, FINETUNE = "pretrain.simmim", "digits.scratch.seed0"


@pytest.fixture
def bench(bench: Bench) -> Bench:
    (bench.path / "pipeline.yaml").write_text(ONE_SEED)
    return bench


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def two_at_once(bench: Bench) -> str:
    """Return the file of a cluster with room for both first stages on any machine."""
    (bench.path / "two.yaml").write_text("{executor: local, stages_at_once: 2}")
    return "two.yaml"


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL])
def test_a_stage_that_crashes_takes_no_other_with_it(bench: Bench, number: signal.Signals) -> None:
    for stage in (PRETRAIN, FINETUNE):
        bench.hold(stage)
    launcher = bench.start("pipeline", "submit", "pipeline.yaml", "--cluster", two_at_once(bench))
    other = bench.pid_of(FINETUNE)
    os.kill(bench.pid_of(PRETRAIN), number)
    bench.wait_for(lambda: "pretrain.simmim failed" in bench.output(launcher), "the crash is seen")
    assert alive(other)
    bench.let_go(FINETUNE)
    assert launcher.wait(60) == 1
    assert [found["stage"] for found in bench.diary("ends")] == [FINETUNE]
    assert members(launcher.pid) == []


def test_a_forked_stage_collects_garbage_though_the_process_that_forks_it_does_not(bench: Bench) -> None:
    assert bench.submit().returncode == 0
    assert {found["collects"] for found in bench.diary("begins")} == {True}


def test_stages_outlive_the_process_that_forked_them_and_the_next_have_another(bench: Bench) -> None:
    bench.hold(PRETRAIN)
    launcher = bench.start("pipeline", "submit", "pipeline.yaml", "--cluster", two_at_once(bench))
    stage = bench.pid_of(PRETRAIN)
    os.kill(parent_of(stage), signal.SIGKILL)
    bench.let_go(PRETRAIN)
    assert launcher.wait(60) == 0, bench.output(launcher)
    assert bench.begun().count(PRETRAIN) == 1
    assert {found["pid"] for found in bench.diary("ends") if found["stage"] == PRETRAIN} == {stage}


def test_where_no_stage_can_be_forked_they_are_programs(bench: Bench) -> None:
    """As where an import ends the whole process."""
    first = bench.path / "first"
    first.mkdir()
    ends = "import os, runpy, sys\nif 'slurm.stage.warm' in sys.orig_argv:\n    os._exit(9)\n"
    (first / "sitecustomize.py").write_text(f"{ends}runpy.run_path({str(STUB / 'sitecustomize.py')!r})\n")
    bench.environment["PYTHONPATH"] = os.pathsep.join([str(first), bench.environment["PYTHONPATH"]])
    done = bench.submit()
    assert done.returncode == 0, done.stdout
    assert "4/4 stages done" in done.stdout


@pytest.mark.long
def test_a_forked_training_has_the_bits_of_a_program_of_its_own(tmp_path: Path, small_digits: Path) -> None:
    assert small_digits.parent == tmp_path
    bench = Bench(tmp_path, stub=None)
    (bench.path / "pipeline.yaml").write_text(pipeline(epochs=2))
    done = bench.submit()
    assert done.returncode == 0, done.stdout
    for stage in (PRETRAIN, "digits.simmim.seed0"):
        argv = bench.folder.read_manifest().entry(stage).stage.argv
        without = argv[: argv.index("--runs")] + argv[argv.index("--announce") + 2 :]
        alone = mimbench(*without, "--runs", str(tmp_path / stage), cwd=bench.path)
        assert alone.returncode == 0, alone.stderr
        assert_same_training(only_run(tmp_path / stage), follow(bench.folder.announcement(stage)))


@pytest.mark.parametrize("verb", ["pretrain", "transfer"])
def test_what_a_verb_is_said_to_import_is_there(verb: str) -> None:
    import mimbench as entry

    module = importlib.import_module(entry.VERBS[verb][0])
    for task in {task.kind: task.name for task in TASKS.values()}.values():
        assert all(importlib.util.find_spec(name) is not None for name in module.imports([task]))
