"""The list of protocols: every recipe follows one, and every protocol names a test that is there."""

from __future__ import annotations

import ast

import pytest

from benchmarks.catalogue.protocols import Protocol, load_protocols
from benchmarks.config import recipe_names
from tests.golden.recipes import recipes
from tests.support.command import ROOT, here

FROZEN = {"linear", "attentive", "knn", "logistic", "few-shot", "frozen", "svm", "nearest"}


@pytest.mark.parametrize("recipe", recipe_names("transfer"))
def test_every_recipe_follows_one_protocol(recipe: str) -> None:
    assert len([each.name for each in load_protocols() if each.has(recipe)]) == 1


@pytest.mark.parametrize("protocol", load_protocols(), ids=lambda protocol: protocol.name)
def test_every_protocol_names_a_test_that_is_there(protocol: Protocol) -> None:
    file, _, name = protocol.test.partition("::")
    functions = {node.name for node in ast.parse((ROOT / file).read_text()).body if isinstance(node, ast.FunctionDef)}
    assert name in functions


@pytest.mark.parametrize("protocol", load_protocols(), ids=lambda protocol: protocol.name)
def test_no_pattern_is_left_over_and_families_are_those_of_the_recipes(protocol: Protocol) -> None:
    names = recipe_names("transfer")
    assert all(
        any(protocol.model_copy(update={"recipes": (one,)}).has(name) for name in names) for one in protocol.recipes
    )
    found = {path.stem: getattr(recipe.config, "protocol", None) for path, recipe in recipes().items()}
    stay_frozen = {found[name] in FROZEN for name in names if protocol.has(name)}
    assert stay_frozen == {protocol.family == "frozen"}


def test_the_list_shows_everything() -> None:
    said = here("list", "protocols")
    assert said.returncode == 0
    for protocol in load_protocols():
        assert all(text in said.stdout for text in (protocol.name, protocol.paper, protocol.code, protocol.test))
