"""Overrides in Python's values, and `--data` beside them."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from benchmarks.errors import UserError
from benchmarks.verbs.overrides import override_texts
from tests.support.command import here


@pytest.mark.parametrize("value", [3, 3e-4, True, None, "a b", "3", "null", [1, 2], {"x": 1}, "images: all"])
def test_a_value_is_read_back_as_it_was_given(value: object) -> None:
    [text] = override_texts({"field": value})
    assert yaml.safe_load(text.partition("=")[2]) == value


def test_data_are_the_root_of_the_recipe() -> None:
    assert override_texts(["seed=3"], Path("images")) == ("seed=3", "data.root=images")
    with pytest.raises(UserError, match="said once"):
        override_texts({"data.root": "a"}, "b")


@pytest.mark.parametrize("verb", [("pretrain", "digits_simmim"), ("transfer", "digits")])
def test_a_verb_takes_data_as_an_option(verb: tuple[str, str]) -> None:
    done = here(*verb, "--data", "some/where", "--print")
    assert yaml.safe_load(done.stdout)["data"]["root"] == "some/where"
