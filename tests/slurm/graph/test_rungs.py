"""Sweeps with rungs: the stages they become, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from slurm.graph.cluster import load_cluster
from slurm.graph.placing import allocations
from slurm.graph.rungs import rung_warnings
from slurm.graph.stages import Pipeline
from tests.slurm.chained_study import changed, graph, load, refusal

pytestmark = pytest.mark.usefixtures("study_folder")
RATES = [0.001, 0.002, 0.003, 0.004, 0.005, 0.006]
MEMBERS = [f"rate-base_lr={rate}" for rate in RATES]


def swept(sweep: dict[str, list[Any]] | None = None, **fields: Any) -> dict[str, Any]:
    """Return a study whose sweep of six learning rates has two rungs, with fields of it replaced."""
    entry: dict[str, Any] = {"recipe": "digits_simmim", "data": "data", "rungs": [0.2, 0.5], "keep": 0.33}
    entry |= {"sweep": sweep or {"training.schedule.base_lr": RATES}, **fields}
    study = changed(pretrain__rate={name: value for name, value in entry.items() if value is not None})
    study["encoders"]["rate"] = {"from": "pretrain.rate"}
    return study


def after(pipeline: Pipeline, name: str) -> tuple[str, ...]:
    return pipeline.stage(name).needs


def test_every_member_is_trained_from_rung_to_rung_and_waits_for_what_each_decides() -> None:
    pipeline = graph(swept())
    at_02, at_05 = [[f"pretrain.{member}@{share}" for member in MEMBERS] for share in (0.2, 0.5)]
    whole = [f"pretrain.{member}" for member in MEMBERS]
    names = [stage.name for stage in pipeline.stages if "rate" in stage.name and stage.name.startswith(("p", "rung"))]
    assert names == [*at_02, "rung.rate@0.2", *at_05, "rung.rate@0.5", *whole]
    assert after(pipeline, at_02[3]) == ()
    assert after(pipeline, at_05[3]) == (at_02[3], "rung.rate@0.2")
    assert after(pipeline, whole[3]) == (at_05[3], "rung.rate@0.5")
    assert after(pipeline, "rung.rate@0.5") == (*at_05,)
    assert pipeline.stage("rung.rate@0.5").after == "any"  # what failed is no reason not to compare the others
    assert after(pipeline, f"digits.{MEMBERS[3]}.seed0") == (whole[3],)


def test_the_parts_of_a_member_are_one_command_but_for_where_they_pause() -> None:
    pipeline = graph(swept())
    part, whole = (pipeline.stage(f"pretrain.{MEMBERS[0]}{end}").argv for end in ("@0.2", ""))
    without = [word for word in part if word not in ("--until", "0.2")]
    assert [word.replace("@0.2", "") for word in without] == list(whole)
    rung = list(pipeline.stage("rung.rate@0.5").argv)
    assert rung[:7] == ["rung", "--share", "0.5", "--keep", "0.33", "--out", "pipelines/study-1/rungs/rate@0.5.json"]
    assert rung[7:9] == ["--after", "pipelines/study-1/rungs/rate@0.2.json"]
    assert rung[9:12] == ["--member", MEMBERS[0], f"pipelines/study-1/stages/pretrain.{MEMBERS[0]}@0.5.json"]
    assert "--after" not in pipeline.stage("rung.rate@0.2").argv


def test_rungs_change_the_id_of_a_pipeline() -> None:
    ids = {load(study).id for study in (swept(), swept(rungs=[0.2]), swept(rungs=None, keep=None))}
    assert len(ids) == 3
    assert "rungs" not in load(swept(rungs=None, keep=None)).to_yaml()  # so that its id is what it was before


def test_a_training_that_a_rung_may_end_does_nobody_elses_work() -> None:
    """A plain pretraining of the same recipe is asked for in full: it waits for no member that may be pruned."""
    study = swept()
    study["pretrain"]["plain"] = {
        "recipe": "digits_simmim",
        "data": "data",
        "overrides": ["training.schedule.base_lr=0.004"],
    }
    assert after(graph(study), "pretrain.plain") == ()


def test_a_member_asks_for_what_its_entry_says_and_a_rung_for_what_the_report_does() -> None:
    Path("mine.yaml").write_text(
        "{executor: slurm, partition: gpu, gpus_per_node: 8, time_limit: 3d, profiles: {big: {nodes: 2}},"
        " report: {partition: cpu}}"
    )
    file, cluster = load(swept(resources="big", overrides=["training.batch_size=64"])), load_cluster("mine.yaml")
    asked = allocations(file, cluster)  # type: ignore[arg-type]
    for name in (f"pretrain.{MEMBERS[5]}@0.2", f"pretrain.{MEMBERS[5]}@0.5", f"pretrain.{MEMBERS[5]}"):
        assert asked[name].summary() == "gpu: 2 x 8 GPUs, 3d"
    assert {asked["rung.rate@0.2"].summary(), asked["rung.rate@0.5"].summary()} == {"cpu: 1 process, 30m"}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"rungs": [0.5, 0.2]}, ["`rungs` in ascending order, each once: [0.5, 0.2]"]),
        ({"rungs": [0.2, 0.2]}, ["`rungs` in ascending order"]),
        ({"rungs": []}, ["pretrain.rate.rungs"]),
        ({"rungs": [0.0]}, ["pretrain.rate.rungs", "greater than 0"]),
        ({"rungs": [0.2, 1.0]}, ["pretrain.rate.rungs", "less than 1"]),
        ({"keep": 0.0}, ["pretrain.rate.keep = 0.0", "greater than 0"]),
        ({"keep": 1.0}, ["pretrain.rate.keep = 1.0", "less than 1"]),
        ({"keep": None}, ["`rungs` and `keep` together"]),
        ({"rungs": None}, ["`rungs` and `keep` together"]),
        ({"keep": 0.99}, ["pretrain.rate.rungs = [0.2, 0.5]", "all 6 that come to 0.2 go on", "a smaller `keep`"]),
        ({"rungs": [0.2, 0.4, 0.6]}, ["all 1 that come to 0.6 go on", "fewer rungs"]),
        ({"overrides": ["validation=null"]}, ["pretrain.rate.rungs", "held out", "validation.share=0.05"]),
        ({"overrides": ["validation.every_epochs=60"]}, ["pretrain.rate.rungs", "every 60 of 60 epochs", "60, 60"]),
        ({"rungs": [0.2, 0.3]}, ["every 10 of 60 epochs, which makes 20, 20", "a smaller validation.every_epochs"]),
        ({"rungs": [0.2, 0.99]}, ["which makes 20, 60"]),
    ],
)
def test_rungs_that_cannot_be_are_refused(fields: dict[str, Any], words: list[str]) -> None:
    message = refusal(swept(**fields))
    assert [word for word in words if word not in message] == []


def test_rungs_without_a_sweep_are_refused() -> None:
    study = swept()
    del study["pretrain"]["rate"]["sweep"]
    assert "`rungs` and `keep` only with `sweep`" in refusal(study)


@pytest.mark.parametrize(
    ("sweep", "words"),
    [
        ({"masking.mask_ratio": [0.4, 0.5, 0.6, 0.7, 0.8, 0.9]}, ["the sweep changes masking", "compare their scores"]),
        ({"head.kind": ["linear", "mlp"]}, ["the sweep changes head"]),
        ({"target.loss": ["l1", "l2", "smooth_l1"]}, ["the sweep changes target"]),
        ({"data.subset": [None, {"fraction": 0.1}, {"fraction": 0.5}]}, ["the sweep changes data"]),
        ({"data.mean": [[0.4] * 3, [0.5] * 3, [0.6] * 3]}, ["the sweep changes normalisation"]),
        ({"image_size_px": [16, 32, 64]}, ["the sweep changes image_size_px"]),
        ({"validation": [{"share": 0.1}, {"share": 0.2}, {"split": "test"}]}, ["the sweep changes validation"]),
        ({"training.epochs": [20, 40, 60]}, ["members of one length", "make a sweep for each length"]),
        ({"training.workers": [0, 1, 2]}, ["members that are different trainings"]),
    ],
)
def test_members_whose_losses_are_not_on_one_scale_are_refused(sweep: dict[str, list[Any]], words: list[str]) -> None:
    message = refusal(swept(sweep, rungs=[0.2]))
    assert "pretrain.rate" in message
    assert [word for word in words if word not in message] == []


def test_members_that_differ_in_how_they_learn_may_be_compared() -> None:
    sweep: dict[str, list[Any]] = {
        "encoder": ["digits_swin", "digits_vit"],
        "training.weight_decay": [0.05, 0.1],
        "data.crop_scale": [[0.67, 1.0], [0.2, 1.0]],
        "training.batch_size": [32, 64],
    }
    assert len(graph(swept(sweep, rungs=[0.2])).stage("rung.rate@0.2").needs) == 16


def test_a_baseline_that_a_rung_may_end_is_warned_of() -> None:
    study = swept()
    assert list(rung_warnings(load(study))) == []
    (said,) = rung_warnings(load({**study, "baseline": MEMBERS[2]}))
    assert said.startswith(f"baseline {MEMBERS[2]}: a rung may end pretrain.{MEMBERS[2]}")
    study["finetune"]["onwards"] = {"encoder": {"from": f"pretrain.{MEMBERS[0]}"}, "task": "digits", "data": "data"}
    study["encoders"]["onwards"] = {"from": "finetune.onwards"}
    assert len(list(rung_warnings(load({**study, "baseline": "onwards"})))) == 1
    study["pretrain"]["simmim"]["seeds"] = [0, 1]  # so that the label of the baseline is no encoder's name
    assert list(rung_warnings(load({**study, "baseline": "simmim"}))) == []
