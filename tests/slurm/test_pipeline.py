"""What a pipeline file becomes, and what is refused in one."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.encoders import MANIFEST
from benchmarks.errors import UserError
from slurm.demo import PIPELINE
from slurm.graph.check import load_pipeline, require_encoder_files
from slurm.graph.pipeline import PipelineFile, read_pipeline
from slurm.graph.stages import Pipeline, expand
from slurm.graph.starts import misfits

STUDY: dict[str, Any] = {
    "name": "study",
    "pretrain": {"simmim": {"recipe": "digits_simmim", "data": "data", "overrides": ["training.epochs=9"]}},
    "finetune": {
        "supervised": {
            "encoder": {"ref": "random:digits_swin"},
            "task": "digits",
            "recipe": "digits_supervised",
            "data": "data",
            "seed": 7,
        },
        "chained": {"encoder": {"from": "pretrain.simmim"}, "task": "digits", "data": "data"},
    },
    "encoders": {
        "simmim": {"from": "pretrain.simmim"},
        "chained": {"from": "finetune.chained"},
        "scratch": {"ref": "random:digits_swin"},
    },
    "tasks": {"digits": {"recipe": "digits_finetune", "data": "data"}},
    "seeds": [0, 1],
    "baseline": "scratch",
}


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data").mkdir()


def changed(**fields: Any) -> dict[str, Any]:
    """Return the study with fields replaced: `changed(finetune__chained__task=...)`."""
    study = copy.deepcopy(STUDY)
    for path, value in fields.items():
        *parents, last = path.split("__")
        inner = study
        for parent in parents:
            inner = inner[parent]
        inner[last] = value
    return study


def load(study: dict[str, Any], *overrides: str) -> PipelineFile:
    Path("study.yaml").write_text(yaml.safe_dump(study))
    return load_pipeline(Path("study.yaml"), overrides)


def graph(study: dict[str, Any]) -> Pipeline:
    return expand(load(study), Path("pipelines/study-1"), Path("runs"))


def refusal(study: dict[str, Any], *overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        load(study, *overrides)
    return str(caught.value)


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
    assert "which states the stage itself" in message


def swept(**sweep: list[Any]) -> dict[str, Any]:
    fields = {name.replace("__", "."): values for name, values in sweep.items()}
    study = changed(pretrain__ablation={"recipe": "digits_simmim", "data": "data", "sweep": fields})
    study["encoders"]["ablation"] = {"from": "pretrain.ablation"}
    return study


def test_a_sweep_is_a_pretraining_and_an_encoder_for_each_combination() -> None:
    pipeline = graph(swept(masking__mask_patch_size_px=[8, 16], masking__mask_ratio=[0.4, 0.6]))
    names = [f"ablation-mask_patch_size_px={size}-mask_ratio={ratio}" for size in (8, 16) for ratio in (0.4, 0.6)]
    found = [stage.name for stage in pipeline.stages if stage.name.startswith("pretrain.ablation")]
    assert found == [f"pretrain.{name}" for name in names]
    last = pipeline.stage(f"pretrain.{names[-1]}").argv
    assert last[-3:-1] == ("masking.mask_patch_size_px=16", "masking.mask_ratio=0.6")
    for name in names:
        transfer = pipeline.stage(f"digits.{name}.seed1")
        assert transfer.needs == (f"pretrain.{name}",)
        assert transfer.argv[transfer.argv.index("--label") + 1] == name


def test_a_sweep_of_27_million_is_refused_by_its_count() -> None:
    """300 cubed; a sweep of 1,000 is well-formed, and so is counted before it is written out."""
    message = refusal(swept(a=list(range(300)), b=list(range(300)), c=list(range(300))))
    assert "pretrain.ablation.sweep = " in message
    assert "at most 1,000 combinations: sweep asks for 27,000,000" in message
    assert "combinations" not in refusal(swept(a=list(range(10)), b=list(range(10)), c=[*range(9), "x"]))


def test_more_stages_than_a_cluster_holds_are_refused_by_their_count() -> None:
    """1,000 swept encoders and the study's three on one task, by 100 seeds; 1,001 pretrainings, two fine-tunings."""
    study = swept(a=list(range(10)), b=list(range(100)))
    study["seeds"] = list(range(100))
    assert "at most 100,000 stages: encoders x tasks x seeds and sweeps make 101,303" in refusal(study)


def test_one_member_of_a_sweep_can_be_named() -> None:
    study = swept(masking__mask_ratio=[0.4, 0.6])
    study["encoders"]["half"] = {"from": "pretrain.ablation-mask_ratio=0.6"}
    study["baseline"] = "ablation-mask_ratio=0.4"
    assert graph(study).stage("digits.half.seed0").needs == (
        "pretrain.ablation-mask_ratio=0.6",
        "digits.ablation-mask_ratio=0.6.seed0",  # the same run
    )


def test_a_value_of_a_sweep_that_the_recipe_refuses_is_told_with_its_combination() -> None:
    message = refusal(swept(masking__mask_ratio=[0.4, 1.5]))
    assert message.startswith("pipeline study.yaml: 1 mistake\n")
    assert "pretrain.ablation-mask_ratio=1.5" in message
    assert "masking.mask_ratio = 1.5" in message
    assert "each value of masking.mask_ratio once" in refusal(swept(masking__mask_ratio=[0.4, 0.4]))


def test_a_chain_cannot_start_from_a_whole_sweep() -> None:
    study = swept(masking__mask_ratio=[0.4, 0.6])
    study["finetune"]["chained"]["encoder"] = {"from": "pretrain.ablation"}
    message = refusal(study)
    assert "finetune.chained.encoder.from = pretrain.ablation" in message
    assert "this is a sweep, which has several" in message


def test_an_encoder_file_that_is_none_is_told_before_anything_starts() -> None:
    Path("theirs.pth").write_bytes(b"no checkpoint")
    file = load(changed(encoders__theirs={"ref": "theirs.pth"}))
    with pytest.raises(UserError, match=r"encoders\.theirs\.ref: .*theirs\.pth"):
        require_encoder_files(file)


def test_a_list_of_tasks_takes_each_task_s_own_recipe() -> None:
    study = changed(tasks=["digits"])
    Path("data/digits").mkdir()  # where that recipe looks
    argv = graph(study).stage("digits.simmim.seed0").argv
    assert argv[argv.index("--recipe") + 1] == "digits_finetune"


def test_the_demo_has_two_trainings_nine_transfers_to_each_task_and_a_report() -> None:
    stages = expand(read_pipeline(PIPELINE), Path("pipelines/demo"), Path("runs")).stages
    assert [stage.name for stage in stages if stage.name.startswith(("pretrain", "finetune"))] == [
        "pretrain.simmim",
        "finetune.supervised",
    ]
    tasks = ("digits", "digit_boxes", "digit_scenes", "digit_motion")
    for task in tasks:
        assert sum(stage.name.startswith(f"{task}.") for stage in stages) == 9
    assert stages[-1].name == "report"
    assert len(stages) == 2 + 9 * len(tasks) + 1


def test_the_id_names_the_content_and_the_resolved_file_is_the_same_pipeline() -> None:
    file = load(STUDY)
    Path("resolved.yaml").write_text(file.to_yaml())
    assert load_pipeline(Path("resolved.yaml")).id == file.id
    assert load(STUDY, "seeds=[0]").id != file.id
    assert file.id.startswith("study-")
    assert load(STUDY, "seeds=[5, 6]").seeds == (5, 6)


@pytest.mark.parametrize(
    ("study", "told"),
    [
        (
            changed(pretrain__simmim__recipe="digits_simmin"),
            ["pretrain.simmim: recipe = digits_simmin", "digits_simmim?"],
        ),
        (changed(pretrain__simmim__overrides=["training.epoch=3"]), ["training.epoch = 3", "Did you mean epochs?"]),
        (changed(pretrain__simmim__overrides=["training.epochs=many"]), ["training.epochs = many", "valid integer"]),
        (changed(pretrain__simmim__data="dat"), ["pretrain.simmim.data = dat", "a folder that exists"]),
        (changed(finetune__chained__task="digit"), ["finetune.chained: task = digit", "Did you mean digits?"]),
        (changed(finetune__chained__encoder={}), ["finetune.chained.encoder", "exactly one of `from` and `ref`"]),
        (
            changed(encoders__simmim={"from": "pretrain.simmin"}),
            ["encoders.simmim.from = pretrain.simmin", "Did you mean pretrain.simmim?"],
        ),
        (changed(encoders__scratch={"ref": "rand:digits_swin"}), ["encoders.scratch.ref = rand:digits_swin"]),
        (
            changed(encoders__simmim={"from": "pretrain.simmim", "stage": "supervised"}),
            ["encoders.simmim.stage = supervised", "`from: pretrain.simmim` is trained here", "remove encoders.simmim"],
        ),
        (
            changed(finetune__supervised__encoder={"ref": "random:digits_swin", "stage": "supervised"}),
            ["finetune.supervised.encoder.stage = supervised", "not trained at all"],
        ),
        (
            changed(encoders__scratch={"ref": "data", "stage": "self-supervized"}),
            ["encoders.scratch.stage = self-supervized", "'self-supervised', 'supervised' or 'fine-tuned'"],
        ),
        (changed(encoders__scratch={"ref": "runs/none"}), ["encoders.scratch.ref = runs/none", "check the path"]),
        (changed(encoders__scratch={"form": "pretrain.simmim"}), ["no such field here", "Did you mean from?"]),
        (changed(encoders={}), ["encoders"]),
        (changed(tasks={"digts": {}}), ["tasks.digts: task = digts", "Did you mean digits?"]),
        (changed(tasks=["digits", "digits"]), ["tasks = ['digits', 'digits']", "each task once"]),
        (changed(seeds=[0, 1, 0]), ["seeds = [0, 1, 0]", "each seed once"]),
        (changed(baseline="supervise"), ["baseline = supervise", "one of this file's encoders"]),
        (changed(name="../study"), ["name = ../study"]),
        (changed(sedes=[0]), ["sedes = [0]", "Did you mean seeds?"]),
    ],
)
def test_a_mistake_is_told_with_its_field_its_value_and_the_remedy(study: dict[str, Any], told: list[str]) -> None:
    message = refusal(study)
    for words in (*told, "rule:", "remedy:"):
        assert words in message


def test_a_ring_of_trainings_is_named() -> None:
    def link(parent: str) -> dict[str, Any]:
        return {
            "encoder": {"from": f"finetune.{parent}"},
            "task": "digits",
            "recipe": "digits_finetune",
            "data": "data",
        }

    study = changed(finetune={"a": link("b"), "b": link("c"), "c": link("a")}, encoders__chained={"from": "finetune.a"})
    message = refusal(study)
    assert "finetune.a <- finetune.b <- finetune.c <- finetune.a" in message
    assert message.startswith("pipeline study.yaml: 1 mistake\n")


def test_all_mistakes_are_told_at_once() -> None:
    message = refusal(changed(baseline="none", seeds=[1, 1], pretrain__simmim__recipe="none"))
    assert message.startswith("pipeline study.yaml: 3 mistakes\n")


def test_a_batch_that_the_processes_of_a_stage_cannot_share_is_told_before_anything_starts() -> None:
    Path("study.yaml").write_text(yaml.safe_dump(changed(pretrain__simmim__overrides=["training.batch_size=20"])))
    load_pipeline(Path("study.yaml"), ranks=2)
    with pytest.raises(UserError) as caught:
        load_pipeline(Path("study.yaml"), ranks=3)
    assert "pretrain.simmim: training.batch_size = 20" in str(caught.value)
    assert "the processes of a stage on this cluster (3)" in str(caught.value)


def test_a_missing_file_is_told() -> None:
    with pytest.raises(UserError, match="a pipeline file that exists"):
        load_pipeline(Path("none.yaml"))


def test_random_weights_are_trained_by_their_own_recipe_and_others_by_the_tasks() -> None:
    stages = graph(changed(tasks={"digits": {"data": "data"}})).stages
    recipes = {each.name: each.argv[each.argv.index("--recipe") + 1] for each in stages if "--recipe" in each.argv}
    assert recipes["digits.scratch.seed0"] == recipes["finetune.supervised"] == "digits_supervised"
    assert recipes["digits.simmim.seed0"] == "digits_finetune"


def test_a_recipe_for_other_encoders_is_told_before_anything_starts() -> None:
    said = list(misfits(load(STUDY)))
    assert [line.partition(": ")[0] for line in said] == ["digits.scratch"]
    assert "will be trained by a fine-tuning recipe (digits_finetune)" in said[0]
    assert "its own is digits_supervised" in said[0]
    assert list(misfits(load(changed(tasks={"digits": {"data": "data"}})))) == []


def test_an_entry_of_tasks_measures_the_encoders_that_it_names() -> None:
    study = changed(
        tasks={
            "all": {"task": "digits", "data": "data"},
            "some": {"task": "digits", "data": "data", "encoders": ["s*", "chained"]},
        }
    )
    names = {stage.name for stage in graph(study).stages}
    assert {f"some.{name}.seed0" for name in ("simmim", "scratch", "chained")} <= names
    study["tasks"]["some"]["encoders"] = ["sim*"]
    names = {stage.name for stage in graph(study).stages}
    assert "some.simmim.seed0" in names
    assert "some.scratch.seed0" not in names
    study["tasks"]["some"]["encoders"] = ["simim"]
    assert "an encoder of this file, or a pattern that finds one" in refusal(study)
    assert "Did you mean simmim?" in refusal(study)
