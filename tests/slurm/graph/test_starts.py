"""Which recipe trains which encoder of a pipeline, and which encoders an entry of `tasks` measures."""

from __future__ import annotations

import pytest

from slurm.graph.starts import misfits
from tests.slurm.chained_study import STUDY, changed, graph, load, refusal

pytestmark = pytest.mark.usefixtures("study_folder")


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
