"""Run ids as the first versions gave them: whoever makes or checks one must make these."""

from __future__ import annotations

import json
from typing import Any

import pytest

from benchmarks.runs.identity import pretraining_id, recorded_transfer_id, run_id
from benchmarks.runs.migrations import parse_record
from benchmarks.runs.record import RecipeUse
from tests.golden.recipes import recipes
from tests.reports import factory

RECIPES = {path.stem: recipe for path, recipe in recipes().items()}


def test_a_pretrainings_id_is_the_one_that_was_written_down() -> None:
    data = f"content:1:{'b' * 64}"
    assert pretraining_id("simmim_swin_base", "a" * 64, data, 3, None) == "pretrain-simmim_swin_base-3ecdd7ad4a75"
    assert pretraining_id("digits_ibot", "a" * 64, data, 3, "c" * 64) == "pretrain-digits_ibot-3294b24d9086"


def test_a_transfers_id_is_the_one_that_was_written_down() -> None:
    assert recorded_transfer_id(factory.transfer()) == "digits-digits_finetune-75c5e8d31b53"
    assert recorded_transfer_id(factory.transfer("scratch", seed=2)) == "digits-digits_finetune-e2b0907af0d1"


def test_the_order_of_what_makes_an_id_is_no_part_of_it() -> None:
    assert run_id("digits", seed=0, recipe="a") == run_id("digits", recipe="a", seed=0)
    assert run_id("digits", seed=0, recipe="a") != run_id("digits", seed=1, recipe="a")


@pytest.mark.parametrize("name", RECIPES)
def test_the_schema_and_the_migration_agree_on_which_fields_are_no_part_of_a_recipes_identity(name: str) -> None:
    """A record of version 3 lacks their names; the fields that are no part of the digest are counted by hand here."""
    config = RECIPES[name].config
    whole, identity = set(_flat(config.model_dump(mode="json"))), set(_flat(config.identity()))
    use = RecipeUse(name=name, overrides=(), digest="0", resolved=config.model_dump(mode="json"))
    old = json.loads(factory.transfer(recipe=use).model_dump_json()) | {"schema_version": 3}
    del old["recipe"]["placement"]
    assert set(config.placement_fields()) == whole - identity - LATER
    assert set(parse_record(json.dumps(old).encode()).recipe.placement) == whole - identity - LATER - NEWER


def test_a_field_that_came_later_changes_an_identity_only_by_another_value_than_what_was_done_before() -> None:
    """The digest is the one that was written down before there were repeats, interpolation and decay_everything."""
    config = RECIPES["digits_finetune"].config
    assert config.identity_digest() == BEFORE_LATER
    for change in ({"interpolation": "bilinear"}, {"training": config.training.model_copy(update={"repeats": 3})}):
        assert config.model_copy(update=change).identity_digest() != BEFORE_LATER
    assert config.model_copy(update={"starts_from": None}).identity_digest() == BEFORE_LATER


BEFORE_LATER = "284f7210524134429d0010ea8841eb9de47f0a4970336e888620d35ed7340fd3"
NEWER = {"starts_from", "data.ignore_value", "grid.held_out.list", "inference.sharded"}
NEWER |= {"training.callbacks", "training.track", "training.track_online", "training.fast_step", "save_predictions"}
NEWER |= {"training.evaluation_batch_size"}
NEWER |= {"features.folder", "features.limit_gb"}
"""Placement fields that no record of version 3 has."""
LATER = {"training.repeats", "interpolation", "decay_everything", "data.subset", "grid"}
LATER |= {"normalisation", "norm_after_pooling", "head_init_std", "pooler", "depth", "pad_to_square"}
LATER |= {"adapters", "sampling.segments", "other_pooling", "training.final_weight_decay", "training.schedules_ahead"}
LATER |= {"data.decode", "data.test_images", "data.test_interpolation", "data.test_resize"}
"""Fields that came after runs were made; with the value that stands for what was done before they are left out too."""


def _flat(value: dict[str, Any], prefix: str = "") -> list[str]:
    return [
        name
        for key, inner in value.items()
        for name in (_flat(inner, f"{prefix}{key}.") if isinstance(inner, dict) and inner else [f"{prefix}{key}"])
    ]
