"""Sweeps of a pipeline file: what they become, how many there may be, and how one of them is named."""

from __future__ import annotations

from typing import Any

import pytest

from tests.slurm.chained_study import changed, graph, refusal

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
