"""Chains of pretrainings in a pipeline file: their order, their commands, what is refused, and one that is run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

import mimbench
from benchmarks.encoders import read_manifest
from benchmarks.errors import UserError
from benchmarks.runs.folder import follow
from slurm.graph.check import load_pipeline
from slurm.graph.pipeline import PipelineFile
from slurm.graph.stages import Pipeline, expand
from slurm.graph.starts import misfits
from tests.support import small
from tests.support.runs import record_of


def work(**fields: Any) -> dict[str, Any]:
    return {"recipe": "digits_simmim", "data": "data", **fields}


STUDY: dict[str, Any] = {
    "name": "chain",
    "pretrain": {  # the second stands before the one that it continues
        "second": work(initial={"from": "pretrain.first", "head": True}),
        "early": work(initial={"from": "pretrain.first", "epoch": 1}),
        "first": work(),
        "after_labels": work(initial={"from": "finetune.labels"}),
    },
    "finetune": {"labels": {"encoder": {"from": "pretrain.second"}, "task": "digits", "data": "data"}},
    "encoders": {"second": {"from": "pretrain.second"}, "after_labels": {"from": "pretrain.after_labels"}},
    "tasks": {"digits": {"recipe": "digits_supervised", "data": "data"}},
    "seeds": [0],
    "baseline": "second",
}


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data").mkdir()


def load(study: dict[str, Any]) -> PipelineFile:
    Path("study.yaml").write_text(yaml.safe_dump(study))
    return load_pipeline(Path("study.yaml"))


def graph(study: dict[str, Any]) -> Pipeline:
    return expand(load(study), Path("pipelines/chain-1"), Path("runs"))


def with_initial(**initial: Any) -> dict[str, Any]:
    """Return the study with one more pretraining, and a sweep."""
    swept = work(sweep={"masking.mask_ratio": [0.5, 0.6]})
    return {**STUDY, "pretrain": {**STUDY["pretrain"], "swept": swept, "third": work(initial=initial)}}


def test_every_pretraining_comes_after_the_one_it_continues() -> None:
    stages = graph(STUDY).stages
    needs = {stage.name: set(stage.needs) for stage in stages}
    assert needs["pretrain.first"] == set()
    assert needs["pretrain.second"] == needs["pretrain.early"] == {"pretrain.first"}
    assert needs["finetune.labels"] == {"pretrain.second"}
    assert needs["pretrain.after_labels"] == {"finetune.labels"}
    seen: set[str] = set()
    for stage in stages:
        assert needs[stage.name] <= seen, stage.name
        seen.add(stage.name)


def test_commands_name_the_announcement_of_what_they_continue() -> None:
    pipeline, first = graph(STUDY), "pipelines/chain-1/stages/pretrain.first.json"
    assert list(pipeline.stage("pretrain.second").argv)[:5] == [
        *["pretrain", "digits_simmim", "--initial", first, "--with-head"],
    ]
    early = list(pipeline.stage("pretrain.early").argv)
    assert early[:6] == ["pretrain", "digits_simmim", "--initial", first, "--epoch", "1"]
    assert "export_epochs=[1]" in pipeline.stage("pretrain.first").argv


def test_what_a_pretraining_starts_from_is_part_of_the_pipeline_and_nothing_else_changes_ids() -> None:
    alone = {
        **STUDY,
        "pretrain": {"second": work()},
        "finetune": {},
        "encoders": {"second": {"from": "pretrain.second"}},
    }
    assert "initial" not in load(alone).to_yaml()
    assert load(STUDY).id != load({**STUDY, "pretrain": {**STUDY["pretrain"], "second": work()}}).id
    assert load(with_initial(ref="timm:resnet50.a1_in1k")).id != load(with_initial(ref="timm:resnet50.a2_in1k")).id


def test_labels_that_went_into_the_start_are_known_before_anything_runs() -> None:
    study = {**STUDY, "tasks": {"digits": {"recipe": "digits_finetune", "data": "data"}}}
    assert [line for line in misfits(load(study)) if line.startswith("digits.second")] == []


@pytest.mark.parametrize(
    ("initial", "named"),
    [
        ({"from": "pretrain.frist"}, ["pretrain.third.initial.from = pretrain.frist", "Did you mean pretrain.first?"]),
        ({"from": "pretrain.third"}, ["pretrain.third <- pretrain.third", "a chain without a cycle"]),
        ({"from": "pretrain.swept"}, ["pretrain.third.initial.from", "this is a sweep, which has several"]),
        ({"from": "pretrain.first", "epoch": 999}, ["pretrain.third.initial.epoch", "which ends after 60"]),
        ({"from": "pretrain.first", "stage": "supervised"}, ["pretrain.third.initial.stage", "trained here"]),
        (
            {"from": "pretrain.first", "epoch": 1, "head": True},
            ["pretrain.third.initial", "only the last epoch's head"],
        ),
        ({"from": "finetune.labels", "head": True}, ["pretrain.third.initial", "`head` only of a pretraining"]),
        ({"ref": "random:digits_swin"}, ["pretrain.third.initial.ref", "remove pretrain.third.initial"]),
        ({"ref": "nowhere.pth"}, ["pretrain.third.initial.ref = nowhere.pth", "check the path"]),
        ({}, ["pretrain.third.initial", "exactly one of `from` and `ref`"]),
    ],
)
def test_what_cannot_be_continued_is_named_before_anything_starts(initial: dict[str, Any], named: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        load(with_initial(**initial))
    assert [words for words in named if words not in str(caught.value)] == []


def test_a_cycle_through_both_sections_is_named_once() -> None:
    study = {**STUDY, "pretrain": {**STUDY["pretrain"], "first": work(initial={"from": "finetune.labels"})}}
    with pytest.raises(UserError, match="1 mistake") as caught:
        load(study)
    assert "finetune.labels <- pretrain.second <- pretrain.first <- finetune.labels" in str(caught.value)


def test_a_chain_runs_to_its_end(digits: Path, tmp_path: Path) -> None:
    small_digits = small.cut_digits(digits, tmp_path / "small")
    fields = small.pretraining(small_digits)[2:]
    pretrain = {"recipe": "digits_simmim", "overrides": fields}
    study = {
        **STUDY,
        "pretrain": {"first": pretrain, "second": {**pretrain, "initial": {"from": "pretrain.first", "head": True}}},
        "finetune": {},
        "encoders": {"second": {"from": "pretrain.second"}},
        "tasks": {"digits": {"recipe": "digits_finetune", "overrides": small.classification(small_digits)[2:]}},
    }
    pipeline = graph(study)
    for stage in pipeline.stages:
        assert mimbench.main(list(stage.argv)) == 0, stage.name
    folders = [follow(Path(f"pipelines/chain-1/stages/pretrain.{name}.json")) for name in ("first", "second")]
    manifest = read_manifest(folders[1] / "encoder")
    assert (manifest.method, manifest.epochs) == ("simmim -> simmim", 6)
    assert manifest.parents == tuple(folder.name for folder in folders)
    transfer = record_of(follow(Path("pipelines/chain-1/stages/digits.second.seed0.json")))
    assert transfer.parents == manifest.parents
    assert "simmim -> simmim" in Path("pipelines/chain-1/report/leaderboard.txt").read_text()
