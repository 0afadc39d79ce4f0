"""Messages as a terminal gets them."""

from __future__ import annotations

import pytest

from benchmarks.errors import UserError, did_you_mean, require_word


def test_values_and_fields_are_escaped_where_they_would_act_on_the_terminal() -> None:
    said = str(UserError.about("a\x1b[31m", "b\x07\nc", "one line", "write it again"))
    assert said == "a\\x1b[31m = b\\x07\\nc\n  rule:   one line\n  remedy: write it again"


def test_letters_of_any_script_stay() -> None:
    assert str(UserError.about("ключ", "значение é 像", "r", "m")).startswith("ключ = значение é 像\n")


def test_other_values_are_shown_as_python_writes_them() -> None:
    assert str(UserError.about("shape", [1, 2], "r", "m")).startswith("shape = [1, 2]\n")


def test_a_guess_is_made_only_where_a_word_is_near() -> None:
    assert did_you_mean("leaderbord", ["leaderboard"]).startswith("Did you mean leaderboard? ")
    assert did_you_mean("xyz", ["leaderboard"]) == "Known: leaderboard"


def test_a_word_that_is_known_passes_and_another_gets_the_nearest() -> None:
    require_word("command", "plan", ["plan", "submit"], "a command")
    with pytest.raises(UserError) as caught:
        require_word("command", "sumbit", ["plan", "submit"], "a command")
    assert str(caught.value) == (
        "command = sumbit\n  rule:   a command\n  remedy: Did you mean submit? Known: plan, submit"
    )


def test_of_many_known_names_the_nearest_are_listed() -> None:
    names = [f"recipe_{number}" for number in range(100)]
    said = did_you_mean("recipe_5", [*names[:5], *names[6:], "digits"])
    assert said.startswith("Did you mean recipe_")
    assert said.endswith(" and 76 more")
    assert "recipe_55" in said
    assert "digits" not in said
