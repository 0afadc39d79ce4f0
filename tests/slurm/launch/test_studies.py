"""The pipelines that ship: each can be planned, and the studies run from end to end in their shortened form."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import yaml

import mimbench
from benchmarks.digits.boxes import write_digit_boxes
from benchmarks.digits.scenes import write_digit_scenes
from benchmarks.errors import UserError
from slurm.graph.check import load_pipeline
from slurm.graph.cluster import SlurmCluster
from slurm.graph.pipeline import PipelineFile
from slurm.graph.shipped import PIPELINES, shipped_pipelines, shortened_studies, shortening
from slurm.graph.stages import expand
from slurm.graph.starts import misfits
from slurm.graph.sweep import without_sweeps
from slurm.plan.plan import describe_plan, make_plan
from slurm.state.folder import PipelineFolder
from tests.conftest import MadeOnce
from tests.support import small
from tests.support.command import here
from tests.transfer import kinds

FOUR_TIMES_EIGHT = SlurmCluster.model_validate(
    {
        "executor": "slurm",
        "gpus_per_node": 8,
        "time_limit": "72h",
        "profiles": {"big": {"nodes": 4}, "small": {"nodes": 1}},
        "report": {"partition": "cpu"},
    }
)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the folders and files that the pipelines name, all empty."""
    monkeypatch.chdir(tmp_path)
    for name in ("imagenet/train", "imagenet/val", "coco", "ADEChallengeData2016", "kinetics400"):
        Path("data", name).mkdir(parents=True)
    for name in (
        "digits",
        "digit_boxes",
        "digit_scenes",
        "digit_motion",
        "digit_depths",
        "digit_labels",
        "digit_pairs",
    ):
        Path("data", name).mkdir()
    Path("checkpoints").mkdir()
    for source in yaml.safe_load((PIPELINES / "frozen_digits.yaml").read_text())["encoders"].values():
        Path(source["ref"]).touch()
    return tmp_path


def planned(file: PipelineFile, cluster: SlurmCluster) -> list[str]:
    folder = Path("pipelines") / file.id
    pipeline = expand(file, folder, Path("runs"))
    plan = make_plan(file, PipelineFolder(folder), pipeline, cluster, Path("runs"))
    return "\n".join(describe_plan(plan)).splitlines()


@pytest.mark.usefixtures("desk")
@pytest.mark.parametrize("name", sorted({*shipped_pipelines()} - {"demo", "demo_full"}))
def test_every_pipeline_that_ships_can_be_planned_by_its_name(name: str) -> None:
    file = load_pipeline(Path(name), cluster=FOUR_TIMES_EIGHT)
    text = "\n".join(planned(file, FOUR_TIMES_EIGHT))
    assert all(f"pretrain.{entry}" in text for entry in file.pretrain)
    assert all(f"{task}." in text for task in file.tasks)


def test_they_are_listed_and_a_misspelt_name_is_corrected(desk: Path) -> None:
    assert desk == Path.cwd()
    shown = here("list", "pipelines").stdout.splitlines()
    assert {line.split()[0] for line in shown[3:]} == {*shipped_pipelines()}
    refused = here("pipeline", "plan", "simmim_vs_supervized")
    assert refused.returncode == 2
    assert "Did you mean simmim_vs_supervised?" in refused.stderr
    refused = here("demo", "--study", "simmim_mask")
    assert refused.returncode == 2
    assert "rule:   a pipeline that has a shortened form" in refused.stderr
    assert not Path("runs").exists()


@pytest.mark.usefixtures("desk")
def test_a_preferred_profile_is_taken_where_there_is_one() -> None:
    """Without profiles, the defaults: two nodes of 8 GPUs share ADE20K's batch of 16 evenly, one image each."""
    lines = planned(load_pipeline(Path("simmim_vs_supervised"), cluster=FOUR_TIMES_EIGHT), FOUR_TIMES_EIGHT)
    of_stage = {line.split()[0]: line for line in lines if line.count("8 GPUs, 72h")}
    assert " 4 x 8 GPUs" in of_stage["pretrain.simmim"]
    assert " x 8 GPUs" not in of_stage["coco.simmim.seed0"]
    with pytest.raises(UserError, match="one of `profile` and `prefer`"):
        load_pipeline(Path("simmim_scaling"), ["pretrain.swin_base.resources={prefer: big, profile: big}"])
    cluster = SlurmCluster(executor="slurm", nodes=2, gpus_per_node=8, time_limit="72h")
    text = "\n".join(planned(load_pipeline(Path("simmim_vs_supervised"), cluster=cluster), cluster))
    assert "2 x 8 GPUs" in text
    assert "4 x 8 GPUs" not in text


@pytest.mark.usefixtures("desk")
def test_random_weights_are_trained_by_a_recipe_of_their_own_on_imagenet() -> None:
    file = load_pipeline(Path("simmim_vs_supervised"))
    assert file.finetune["supervised"].recipe == "imagenet1k_swin_base_224_supervised"
    warned = {said.partition(":")[0] for said in misfits(file)}
    assert not {"finetune.supervised", "imagenet1k_supervised.scratch"} & warned


@pytest.mark.usefixtures("desk")
@pytest.mark.parametrize("name", ["simmim_swinv2_sizes", "simmim_scaling", "simmim_data_scaling"])
def test_every_size_is_fine_tuned_by_a_recipe_of_its_own(name: str) -> None:
    file = load_pipeline(Path(name))
    trained = [(work.recipe, work.overrides) for work in file.tasks.values()]
    assert len({*trained}) == len(trained)
    swept = without_sweeps(file)
    measured = [label for task in swept.tasks for label in swept.encoders_of(task)]
    assert {*measured} == {*swept.encoders}


@pytest.mark.parametrize("name", shortened_studies())
def test_a_shortened_study_has_the_stages_of_the_whole_one(name: str, desk: Path) -> None:
    whole, short = load_pipeline(Path(name)), load_pipeline(Path(name), shortening(name))
    assert desk == Path.cwd()
    if not any(entry.sweep for entry in whole.pretrain.values()):
        assert {*short.tasks} == {*whole.tasks}
        assert {*short.encoders} == {*whole.encoders}
        assert all(short.encoders_of(task).keys() == whole.encoders_of(task).keys() for task in whole.tasks)
    assert {*short.tasks} <= {*whole.tasks}
    assert {*short.encoders} <= {*whole.encoders}
    assert short.id != whole.id


def run_here(name: str, *overrides: str) -> tuple[PipelineFile, list[dict[str, Any]]]:
    """Run every stage of a shortened study in this process, in turn; return the file and the report's rows."""
    file = load_pipeline(Path(name), [*shortening(name), *overrides])
    folder = Path("pipelines") / file.id
    for stage in expand(file, folder, Path("runs")).stages:
        assert mimbench.main(stage.argv) == 0, stage.name
    with open(folder / "report" / "leaderboard.csv", newline="") as table:
        return file, list(csv.DictReader(table))


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, digits: Path, motion: Path, made_once: MadeOnce) -> None:
    """A working directory with small cuts of the digits' data sets."""
    monkeypatch.chdir(tmp_path)
    small.cut_digits(digits, Path("data/digits"))
    kinds.cut_boxes(made_once("digit_boxes", write_digit_boxes), Path("data/digit_boxes"))
    kinds.cut_scenes(made_once("digit_scenes", write_digit_scenes), Path("data/digit_scenes"))
    kinds.cut_motion(motion, Path("data/digit_motion"))


BRIEFLY = "overrides=[training.epochs=2, training.batch_size=20, training.schedule.warmup_epochs=1]"


@pytest.mark.long
@pytest.mark.usefixtures("data")
def test_simmim_vs_supervised_from_end_to_end() -> None:
    """Its supervised trainings have their own recipe, here for two epochs; every encoder is measured on every task."""
    brief = [f"finetune.supervised.{BRIEFLY}", f"tasks.imagenet1k_supervised.{BRIEFLY}"]
    file, rows = run_here("simmim_vs_supervised", *brief)
    found = {(row["task"], row["encoder"]): row for row in rows if row["kind"] == "measured"}
    starts = {*file.encoders}
    assert starts == {"simmim", "chained", "supervised", "scratch"}
    for task in ("digit_boxes", "digit_scenes", "digit_motion"):
        assert {encoder for of, encoder in found if of == task} == starts
    for label in ("supervised (training)", "scratch"):
        supervised = found["digits", label]
        assert (supervised["recipe"], supervised["init_stage"]) == ("digits_supervised", "random")
        assert supervised["mark"] == (
            "the training that made supervised, for which it stands here" * (label == "scratch")
        )
    simmim, scratch = found["digits", "simmim"], found["digits", "scratch"]
    scores = float(simmim["top1_last_mean"]), float(scratch["top1_last_mean"])
    assert float(simmim["top1_delta"]) == pytest.approx(scores[0] - scores[1], abs=0.011)
    assert "scratch trained from scratch by digits_supervised, 2 epochs" in simmim["mark"]
    assert found["digit_boxes", "chained"]["init_stage"] == "fine-tuned"
    assert found["digit_boxes", "supervised"]["init_stage"] == "supervised"


@pytest.mark.long
@pytest.mark.usefixtures("data")
@pytest.mark.parametrize("name", [name for name in shortened_studies() if name != "simmim_vs_supervised"])
def test_a_shortened_study_from_end_to_end(name: str) -> None:
    file, rows = run_here(name)
    swept = without_sweeps(file)
    measured = {row["encoder"].partition(" (")[0] for row in rows if row["kind"] == "measured"}
    assert {*swept.encoders} <= measured
