"""What a pipeline file becomes."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.catalogue.tasks import find_task
from benchmarks.encoders import MANIFEST
from slurm.demo import FULL, PIPELINE
from slurm.graph.check import load_pipeline, load_work
from slurm.graph.pipeline import read_pipeline
from slurm.graph.stages import expand
from tests.slurm.chained_study import STUDY, changed, graph, load, refusal

pytestmark = pytest.mark.usefixtures("study_folder")


def test_a_stage_for_each_training_and_each_encoder_task_and_seed_and_one_report() -> None:
    needs = {stage.name: set(stage.needs) for stage in graph(STUDY).stages}
    transfers = [f"digits.{name}.seed{seed}" for name in ("simmim", "chained", "scratch") for seed in (0, 1)]
    assert needs == {
        "pretrain.simmim": set(),
        "finetune.supervised": set(),
        "finetune.chained": {"pretrain.simmim"},
        "digits.simmim.seed0": {"pretrain.simmim", "finetune.chained"},  # the same run as finetune.chained
        "digits.simmim.seed1": {"pretrain.simmim"},
        "digits.chained.seed0": {"finetune.chained"},
        "digits.chained.seed1": {"finetune.chained"},
        "digits.scratch.seed0": set(),
        "digits.scratch.seed1": set(),
        "report": set(transfers),
    }


def test_every_stage_comes_after_what_it_needs_however_the_file_is_ordered() -> None:
    study = changed(finetune__aaa={"encoder": {"from": "finetune.chained"}, "task": "digits", "data": "data"})
    study["finetune"] = dict(sorted(study["finetune"].items()))
    seen: set[str] = set()
    for stage in graph(study).stages:
        assert set(stage.needs) <= seen
        seen.add(stage.name)


def test_commands_are_those_a_person_would_type() -> None:
    pipeline = graph(STUDY)
    folder = "pipelines/study-1"
    assert list(pipeline.stage("pretrain.simmim").argv) == [
        *["pretrain", "digits_simmim", "--seed", "0", "--runs", "runs"],
        *["--announce", f"{folder}/stages/pretrain.simmim.json", "training.epochs=9", "data.root=data"],
    ]
    assert list(pipeline.stage("digits.chained.seed1").argv) == [
        *["transfer", "digits", "--encoder", f"{folder}/stages/finetune.chained.json", "--recipe", "digits_finetune"],
        *["--label", "chained", "--seed", "1", "--runs", "runs"],
        *["--announce", f"{folder}/stages/digits.chained.seed1.json", "data.root=data"],
    ]
    training = pipeline.stage("finetune.supervised").argv
    assert training[training.index("--label") + 1] == "supervised (training)"
    assert training[training.index("--seed") + 1] == "7"
    assert list(pipeline.stage("report").argv) == [
        *["report", "leaderboard", f"{folder}/stages", "--baseline", "scratch", "--out", f"{folder}/report"],
    ]
    assert pipeline.stage("report").after == "any"


@pytest.mark.parametrize("where", ["encoders__scratch", "finetune__supervised__encoder"])
def test_the_stage_of_what_others_trained_is_passed_on(where: str) -> None:
    Path("theirs.pth").touch()
    pipeline = graph(changed(**{where: {"ref": "theirs.pth", "stage": "self-supervised"}}))
    stage = "digits.scratch.seed0" if "scratch" in where else "finetune.supervised"
    argv = list(pipeline.stage(stage).argv)
    assert argv[2:6] == ["--encoder", "theirs.pth", "--stage", "self-supervised"]
    assert "--stage" not in pipeline.stage("digits.simmim.seed0").argv


def test_the_architecture_of_what_others_trained_is_passed_on_and_asked_of_nothing_else() -> None:
    Path("theirs.pth").touch()
    pipeline = graph(changed(encoders__scratch={"ref": "theirs.pth", "architecture": "digits_swin"}))
    argv = pipeline.stage("digits.scratch.seed0").argv
    assert argv[argv.index("--architecture") + 1] == "digits_swin"
    message = refusal(changed(encoders__simmim={"from": "pretrain.simmim", "architecture": "digits_swin"}))
    assert "encoders.simmim.architecture = digits_swin" in message


def test_one_task_by_two_recipes_has_two_entries() -> None:
    linear = {"task": "digits", "recipe": "digits_linear", "data": "data"}
    study = changed(tasks={"digits": STUDY["tasks"]["digits"], "digits_linear": linear})
    argv = graph(study).stage("digits_linear.scratch.seed1").argv
    assert argv[:2] == ("transfer", "digits")
    assert argv[argv.index("--recipe") + 1] == "digits_linear"
    assert "task = digts" in refusal(changed(tasks={"mine": {**linear, "task": "digts"}}))


def test_the_data_on_which_others_trained_are_passed_on_and_asked_of_nothing_else() -> None:
    Path("theirs.pth").touch()
    argv = (
        graph(changed(encoders__scratch={"ref": "theirs.pth", "pretrained_on": "Own scans"}))
        .stage("digits.scratch.seed0")
        .argv
    )
    assert argv[argv.index("--pretrained-on") + 1] == "Own scans"
    for source in ({"from": "pretrain.simmim"}, {"ref": "random:digits_swin"}):
        message = refusal(changed(encoders__scratch={**source, "pretrained_on": "Own scans"}))
        assert "encoders.scratch.pretrained_on = Own scans" in message
        assert "it is for what others trained" in message


def test_what_is_said_of_weights_in_a_file_is_passed_on_and_asked_of_nothing_else() -> None:
    Path("theirs.pth").touch()
    said = {"weights": "model_ema", "prefix": "visual.", "allow_implausible_weights": True}
    argv = graph(changed(encoders__scratch={"ref": "theirs.pth", **said})).stage("digits.scratch.seed0").argv
    at = argv.index("--weights")
    assert argv[at : at + 5] == ("--weights", "model_ema", "--prefix", "visual.", "--allow-implausible-weights")
    message = refusal(changed(encoders__scratch={"from": "pretrain.simmim", "weights": "model_ema"}))
    assert "encoders.scratch.weights = model_ema" in message


def test_an_architecture_in_a_file_is_named_as_the_commands_name_it() -> None:
    Path("mine.yaml").write_text("name: resnet10t\narguments: {stem_width: 16}\n")
    mine = {"ref": "random:mine.yaml"}
    study = changed(encoders__scratch=mine, finetune__supervised__encoder=mine, tasks={"digits": {"data": "data"}})
    argv = graph(study).stage("digits.scratch.seed0").argv
    assert argv[argv.index("--encoder") + 1] == "random:mine.yaml"
    assert argv[argv.index("--recipe") + 1] == "digits_supervised"  # that of random weights
    Path("mine.yaml").write_text("name: resnet10x\n")
    assert "encoders.scratch.ref: architecture = resnet10x" in refusal(study)
    Path("mine.yaml").write_text("name: [resnet10t]\n")
    assert "encoders.scratch.ref: encoder mine.yaml: 1 mistake" in refusal(study)
    Path("mine.yaml").unlink()
    assert "encoders.scratch.ref: recipe = mine.yaml" in refusal(study)


def test_ones_own_code_is_not_run_to_check_a_pipeline_and_its_stage_is_asked_for() -> None:
    own = {"ref": "python:no_such_package.encoders:make"}
    assert "encoders.scratch.stage = (not given)" in refusal(changed(encoders__scratch=own))
    argv = graph(changed(encoders__scratch={**own, "stage": "supervised"})).stage("digits.scratch.seed0").argv
    assert argv[argv.index("--encoder") + 1] == own["ref"]


def test_an_encoder_of_an_earlier_epoch_is_exported_by_its_pretraining() -> None:
    study = changed(encoders__early={"from": "pretrain.simmim", "epoch": 4})
    pipeline = graph(study)
    assert "export_epochs=[4]" in pipeline.stage("pretrain.simmim").argv
    argv = pipeline.stage("digits.early.seed0").argv
    assert argv[argv.index("--epoch") + 1] == "4"
    assert "--epoch" not in pipeline.stage("digits.simmim.seed0").argv
    late = refusal(changed(encoders__early={"from": "pretrain.simmim", "epoch": 10}))
    assert "encoders.early.epoch = 10" in late
    assert "ends after 9" in late
    assert "only with `from: pretrain.NAME`" in refusal(changed(encoders__early={"ref": "timm:resnet18", "epoch": 1}))


def test_our_own_exports_tell_their_stage() -> None:
    Path("data", MANIFEST).touch()
    message = refusal(changed(encoders__scratch={"ref": "data", "stage": "supervised"}))
    assert "encoders.scratch.stage = supervised" in message
    assert "which states it" in message


def test_a_list_of_tasks_takes_each_task_s_own_recipe() -> None:
    study = changed(tasks=["digits"])
    Path("data/digits").mkdir()  # where that recipe looks
    argv = graph(study).stage("digits.simmim.seed0").argv
    assert argv[argv.index("--recipe") + 1] == "digits_finetune"


def test_the_full_demo_has_two_trainings_nine_transfers_to_each_task_and_a_report() -> None:
    stages = expand(read_pipeline(FULL), Path("pipelines/demo"), Path("runs")).stages
    assert [stage.name for stage in stages if stage.name.startswith(("pretrain", "finetune"))] == [
        "pretrain.simmim",
        "finetune.supervised",
    ]
    tasks = ("digits", "digit_boxes", "digit_scenes", "digit_motion")
    for task in tasks:
        assert sum(stage.name.startswith(f"{task}.") for stage in stages) == 9
    assert stages[-1].name == "report"
    assert len(stages) == 2 + 9 * len(tasks) + 1


def test_the_demo_compares_by_the_same_labels_and_steps_and_evaluates_at_the_end_alone() -> None:
    file = read_pipeline(PIPELINE)
    for name, entry in file.tasks.items():
        recipe = load_work(entry, file.task(name)).config
        training = getattr(recipe, "training", None)
        if training is None:
            assert name == "few_labels"
            assert recipe.per_class == 5
            assert {*file.encoders_of(name)} == {"simmim", "scratch", "pixels"}
            continue
        assert {*file.encoders_of(name)} == {"simmim", "scratch"}
        assert recipe.training.epochs == getattr(recipe, "evaluate_every_epochs", None)
        assert recipe.training.steps == getattr(recipe, "evaluate_every_steps", None)
    assert load_work(file.tasks["digits"], "digits").config.data.subset.per_class == 5
    kinds = {find_task(file.task(name)).kind for name in file.tasks}
    assert kinds == {"classification", "detection", "segmentation", "video"}


def test_the_id_names_the_content_and_the_resolved_file_is_the_same_pipeline() -> None:
    file = load(STUDY)
    Path("resolved.yaml").write_text(file.to_yaml())
    assert load_pipeline(Path("resolved.yaml")).id == file.id
    assert load(STUDY, "seeds=[0]").id != file.id
    assert file.id.startswith("study-")
    assert load(STUDY, "seeds=[5, 6]").seeds == (5, 6)
