"""A suite in `tasks` is one line for all of its data sets."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.catalogue.suites import FINE_GRAINED, TASKS_OF
from slurm.graph.check import load_pipeline
from slurm.graph.pipeline import read_pipeline
from slurm.graph.stages import expand

STUDY = """
name: study
encoders: {{scratch: {{ref: "random:digits_swin"}}}}
tasks: {tasks}
seeds: [0]
baseline: scratch
"""


def write(tasks: str, folder: Path) -> Path:
    path = folder / "study.yaml"
    path.write_text(STUDY.format(tasks=tasks))
    return path


def test_one_line_becomes_a_stage_for_each_data_set(tmp_path: Path) -> None:
    path = write("{fine_grained: {data: /data/fine, overrides: [k=10]}}", tmp_path)
    file = load_pipeline(path, data_is_here=False)
    stages = expand(file, tmp_path / "pipeline", tmp_path / "runs").stages
    names = [part.name for part in TASKS_OF[FINE_GRAINED]]
    assert [stage.name for stage in stages] == [*(f"{name}.scratch.seed0" for name in names), "report"]
    for name, stage in zip(names, stages, strict=False):
        assert stage.argv[:2] == ("transfer", name)
        own = name == "voc2007"
        assert stage.argv[-1] == f"data.root=/data/fine/{name}"
        assert (stage.argv[-2] == "k=10") != own, "its recipe has no neighbours"
        assert ("voc2007_svm" if own else "fine_grained_knn") in stage.argv


def test_a_line_of_its_own_for_a_data_set_holds_above_the_suites(tmp_path: Path) -> None:
    lines = "fine_grained: {data: /data/fine}, voc2007: {overrides: [folds=5]}"
    for tasks in (lines, ", ".join(reversed(lines.split(", ", 1)))):
        found = read_pipeline(write(f"{{{tasks}}}", tmp_path)).tasks["voc2007"]
        assert (found.overrides, found.data) == (("folds=5",), None)


def test_a_suite_by_another_name_and_recipe_beside_it(tmp_path: Path) -> None:
    path = write("{imagenet1k: {}, probe: {task: fine_grained, recipe: imagenet1k_linear_mae}}", tmp_path)
    tasks = read_pipeline(path, ["tasks.probe.data=fine/"]).tasks
    assert list(tasks)[:3] == ["imagenet1k", "probe-cifar10", "probe-cifar100"]
    assert (tasks["probe-dtd"].task, tasks["probe-dtd"].recipe) == ("dtd", "imagenet1k_linear_mae")
    assert Path(tasks["probe-dtd"].data or "") == Path("fine/dtd")


def test_a_list_of_tasks_may_name_a_suite(tmp_path: Path) -> None:
    file = read_pipeline(write("[imagenet1k, fine_grained]", tmp_path))
    assert len(file.tasks) == 1 + 12
    again = tmp_path / "again.yaml"
    again.write_text(file.to_yaml())
    assert read_pipeline(again).id == file.id


@pytest.mark.parametrize("tasks", ["{digits: {data: a}, mine: {task: digits}}", "[digits]"])
def test_other_tasks_stay_as_they_are(tasks: str, tmp_path: Path) -> None:
    assert set(read_pipeline(write(tasks, tmp_path)).tasks) <= {"digits", "mine"}
