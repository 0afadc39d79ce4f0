"""What `import mimbench` gives: its names, what they cost, and the types that a person's program is checked against."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
import typing

import pytest

import mimbench
from tests.support.command import ROOT

HEAVY = ("torch", "pandas", "numpy", "timm", "pydantic", "matplotlib", "benchmarks", "transfer")


def test_importing_it_costs_nothing_heavy_and_shows_every_name() -> None:
    code = "import json, sys, mimbench; print(json.dumps([sorted(sys.modules), dir(mimbench), mimbench.__version__]))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    modules, names, version = json.loads(done.stdout)
    assert {*modules}.isdisjoint(HEAVY)
    assert names == sorted(mimbench.__all__)
    assert version == mimbench.__version__


@pytest.mark.parametrize("name", mimbench.__all__)
def test_every_name_is_there_and_says_what_it_is(name: str) -> None:
    found = getattr(mimbench, name)
    if name not in ("__version__", "Overrides"):
        assert inspect.getdoc(found)
    if inspect.isfunction(found) and name != "main":
        assert typing.get_type_hints(found, _names_of(found))["return"] is not None


def _names_of(function: object) -> dict[str, object]:
    """Return the names that annotations of a function may use, those for type checkers alone included."""
    import pandas

    return {**vars(sys.modules[function.__module__]), "DataFrame": pandas.DataFrame}  # type: ignore[attr-defined]


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        mimbench.lode  # noqa: B018


@pytest.mark.parametrize("verb", ["transfer", "evaluate", "pretrain"])
def test_every_option_of_a_verb_is_an_argument_of_the_function(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    """But for those that only a pipeline needs, and --print, which runs nothing."""
    with pytest.raises(SystemExit):
        mimbench.main([verb, "--help"])
    words = capsys.readouterr().out.replace("[", " ").replace("]", " ").split()
    options = {word.removeprefix("--").replace("-", "_") for word in words if word.startswith("--")}
    options = {option.strip(",.;:`") for option in options} - {"help", "print", "announce", "rung"}
    arguments = inspect.signature(getattr(mimbench, verb)).parameters
    assert {option for option in options if option not in arguments} <= {"until", "runs", "config"}
    assert {"data", "overrides", "seed", "runs", "progress"} <= set(arguments)
