"""What CONTRIBUTING.md says one touches to add something is all that one has to touch."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.reports import factory
from tests.support.command import ROOT
from tests.touch.toys import TOYS, Toy

PROGRAM = ("mimbench", "benchmarks", "pretrain", "transfer", "slurm", "reports")
IN_TURN = """
import contextlib, io, json, runpy, sys, traceback

for option, what, *rest in json.loads(sys.argv[1]):
    out, sys.argv = io.StringIO(), ["", *rest]
    with contextlib.redirect_stdout(out):
        try:
            runpy.run_module(what, run_name="__main__") if option == "-m" else exec(what, {})
        except BaseException:
            traceback.print_exc()
    print(json.dumps(out.getvalue()))
"""
"""Runs commands of Python in one process, and prints what each said on a line of its own."""


def table() -> dict[str, list[str]]:
    """Return the paths that each row of the table names."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (an? [^|]+?) \| (.+) \|$", text, re.MULTILINE)
    return {what: re.findall(r"`([a-z_]+/[^`]*)`", where) for what, where in rows}


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the program with some records beside it; no test may change it."""
    folder = tmp_path_factory.mktemp("untouched")
    for part in PROGRAM:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / part, folder)
    for label in ("simmim", "supervised"):
        factory.write(folder / "records", factory.transfer(label))
    return folder


@pytest.fixture(scope="module")
def before(untouched: Path) -> dict[str, str]:
    """What the toys' commands show without the toys, by row; all in one process, which imports torch once."""
    arguments = ["-c", IN_TURN, json.dumps([toy.arguments for toy in TOYS])]
    done = run(untouched, arguments)
    assert done.returncode == 0, done.stderr
    said = [json.loads(line) for line in done.stdout.splitlines()]
    return {toy.row: text + written(untouched) for toy, text in zip(TOYS, said, strict=True)}


def run(program: Path, arguments: list[str]) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(program), "COLUMNS": "400"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=program, env=environment, capture_output=True, text=True, timeout=300
    )


def written(program: Path) -> str:
    """Return what was written to a report."""
    return "".join(path.read_text() for path in sorted((program / "report").glob("*.csv")))


@pytest.mark.parametrize(("what", "where"), table().items(), ids=[*table()])
def test_every_place_that_the_table_names_is_there(what: str, where: list[str]) -> None:
    assert where, f"no path is named for {what}"
    assert [path for path in where if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("toy", TOYS, ids=[toy.row for toy in TOYS])
def test_the_files_of_the_table_are_all_that_one_touches(
    untouched: Path, before: dict[str, str], tmp_path: Path, toy: Toy
) -> None:
    named = table()[toy.row]
    assert {path if path in named else f"{Path(path).parent}/" for path in toy.files} == set(named)
    assert not all(words in before[toy.row] for words in toy.shows), "the command needs no toy"
    program = tmp_path / "program"
    shutil.copytree(untouched, program, ignore=shutil.ignore_patterns("report"))
    toy.add_to(program)
    after = run(program, toy.arguments)
    assert after.returncode == 0, after.stderr
    assert [words for words in toy.shows if words not in after.stdout + written(program)] == []
