"""Sweeps of a pipeline file: what they become, how many there may be, and how one of them is named."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from tests.slurm.chained_study import changed, graph, load, refusal

pytestmark = pytest.mark.usefixtures("study_folder")


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


def probed(sweep: dict[str, list[Any]], **fields: Any) -> dict[str, Any]:
    study = changed()
    study["tasks"]["probe"] = {"task": "digits", "recipe": "digits_linear", "data": "data", "sweep": sweep, **fields}
    return study


def test_a_swept_task_is_measured_by_a_recipe_for_each_combination() -> None:
    sweep = {"layers": [None, [3]], "pooling": ["mean", "class-token"], "training.schedule.base_lr": [1e-05, 0.1]}
    pipeline = graph(probed(sweep, encoders=["simmim"]))
    found = [stage for stage in pipeline.stages if stage.name.startswith("probe")]
    assert len(found) == 2 * 2 * 2 * 2  # with the study's two seeds
    last = pipeline.stage("probe-layers=3-pooling=class-token-base_lr=0.1.simmim.seed1").argv
    assert last[:2] == ("transfer", "digits")
    assert last[last.index("--label") + 1] == "simmim"  # the encoder's: members are rows of it under other conditions
    assert last[-4:-1] == ("layers=[3]", 'pooling="class-token"', "training.schedule.base_lr=0.1")
    recipes = {tuple(stage.argv[-4:-1]) for stage in found}
    assert len(recipes) == 8
    assert all(stage.needs == ("pretrain.simmim",) for stage in found)


def test_the_stages_of_swept_tasks_are_counted_before_they_are_written_out() -> None:
    assert "sweep asks for 1,001" in refusal(probed({"training.epochs": list(range(1001))}))
    study = probed({"training.epochs": list(range(1000))})
    study["seeds"] = list(range(100))
    # 1,000 swept entries and one plain one, three encoders, 100 seeds; a pretraining, two fine-tunings.
    assert "at most 100,000 stages: encoders x tasks x seeds and sweeps make 300,303" in refusal(study)


@pytest.mark.parametrize(
    ("sweep", "words"),
    [
        ({"training.workers": [0, 4]}, ["tasks.probe.sweep = training.workers", "says where or how", "make one run"]),
        ({"data.root": ["data", "data2"]}, ["tasks.probe.sweep = data.root", "make one run"]),
        ({"pooling": ["mean", "max"]}, ["tasks.probe-pooling=max", "pooling = max"]),
        ({"poolng": ["mean"]}, ["tasks.probe-poolng=mean", "poolng = mean", "no such field here"]),
        ({"pooling": ["mean", "mean"]}, ["tasks.probe.sweep", "each value of pooling once"]),
        ({"layers": [[1, 2], ["1,2"]]}, ["tasks.probe.sweep", "stands for several"]),
        ({"training.batch_size": []}, ["tasks.probe.sweep"]),
    ],
)
def test_a_sweep_of_a_task_that_cannot_be_is_refused(sweep: dict[str, list[Any]], words: list[str]) -> None:
    message = refusal(probed(sweep))
    assert all(word in message for word in words), message


def test_a_swept_task_changes_the_id_of_its_pipeline_and_no_other() -> None:
    plain = probed({"pooling": ["mean"]})
    del plain["tasks"]["probe"]["sweep"]
    ids = {load(study).id for study in (plain, probed({"pooling": ["mean"]}), probed({"pooling": ["class-token"]}))}
    assert len(ids) == 3


def test_a_pretraining_with_several_seeds_is_there_once_for_each_with_all_that_starts_from_it() -> None:
    study = changed(pretrain__simmim__seeds=[3, 5])
    study["baseline"] = "simmim"
    study["tasks"]["digits"]["encoders"] = ["simmim", "chained"]
    pipeline = graph(study)
    for name in ("pretrain.simmim", "finetune.chained"):
        assert [one.name for one in pipeline.stages if one.name.startswith(name)] == [
            f"{name}-seed={s}" for s in (3, 5)
        ]
    first = pipeline.stage("pretrain.simmim-seed=5").argv
    assert first[first.index("--seed") + 1] == "5"
    for seed, own in itertools.product((3, 5), (0, 1)):
        stage = pipeline.stage(f"digits.simmim-seed={seed}.seed{own}")
        assert stage.needs[0] == f"pretrain.simmim-seed={seed}"
        assert stage.argv[stage.argv.index("--label") + 1] == "simmim"
        assert stage.argv[stage.argv.index("--seed") + 1] == str(own)
        assert pipeline.stage(f"digits.chained-seed={seed}.seed{own}").needs == (f"finetune.chained-seed={seed}",)
    assert pipeline.stage("finetune.chained-seed=5").needs == ("pretrain.simmim-seed=5",)
    assert len(pipeline.stages) == 2 + 1 + 2 + 2 * 2 * 2 + 1
    report = pipeline.stage("report").argv
    assert report[report.index("--baseline") + 1] == "simmim"


def test_the_members_of_a_sweep_have_seeds_each() -> None:
    study = swept(masking__mask_ratio=[0.4, 0.6])
    study["pretrain"]["ablation"]["seeds"] = [0, 1]
    names = [stage.name for stage in graph(study).stages if stage.name.startswith("pretrain.ablation")]
    assert names == [f"pretrain.ablation-mask_ratio={ratio}-seed={seed}" for ratio in (0.4, 0.6) for seed in (0, 1)]
    transfer = graph(study).stage("digits.ablation-mask_ratio=0.6-seed=1.seed0").argv
    assert transfer[transfer.index("--label") + 1] == "ablation-mask_ratio=0.6"


def test_seeds_of_pretrainings_that_cannot_be_are_refused() -> None:
    assert "one of `seed` and `seeds`" in refusal(changed(pretrain__simmim__seeds=[0], pretrain__simmim__seed=0))
    assert "each of the `seeds` once" in refusal(changed(pretrain__simmim__seeds=[0, 0]))
    study = changed(pretrain__simmim__seeds=[0, 1])
    study["pretrain"]["second"] = {**study["pretrain"]["simmim"], "initial": {"from": "pretrain.simmim"}}
    assert "pretrain.second.seeds = [0, 1]" in refusal(study)
    study = swept(masking__mask_ratio=[0.4, 0.6])
    study["pretrain"]["ablation"] |= {"seeds": [0, 1], "rungs": [0.5], "keep": 0.5}
    assert "members of a sweep that stops early have one seed" in refusal(study)
    many = changed(pretrain__simmim__seeds=list(range(30_000)))
    # 30,000 pretrainings, as many chained fine-tunings and one more; 60,001 encoders by two seeds
    assert "sweeps make 180,003" in refusal(many)


def test_a_file_without_seeds_of_pretrainings_keeps_its_id() -> None:
    assert load(changed()).id == "study-b2f7dce3"
