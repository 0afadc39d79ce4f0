"""What CONTRIBUTING.md says one touches to add something is all that one has to touch."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command import ROOT
from tests.reports import factory
from tests.touch.toys import TOYS, Toy

PROGRAM = ("mimbench.py", "benchmarks", "pretrain", "transfer", "slurm", "reports")


def table() -> dict[str, list[str]]:
    """Return the paths that each row of the table names."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (an? [^|]+?) \| (.+) \|$", text, re.MULTILINE)
    return {what: re.findall(r"`([a-z_]+/[^`]*)`", where) for what, where in rows}


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A copy of the program with some records beside it."""
    for part in PROGRAM:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / part, tmp_path)
    for label in ("simmim", "supervised"):
        factory.write(tmp_path / "records", factory.transfer(label))
    return tmp_path


def run(program: Path, toy: Toy) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(program), "COLUMNS": "400"}
    return subprocess.run(
        [sys.executable, *toy.arguments], cwd=program, env=environment, capture_output=True, text=True, timeout=300
    )


def shown(program: Path, done: subprocess.CompletedProcess[str]) -> str:
    """Return what a command printed and what it wrote to a report."""
    return done.stdout + "".join(path.read_text() for path in sorted((program / "report").glob("*.csv")))


@pytest.mark.parametrize(("what", "where"), table().items(), ids=[*table()])
def test_every_place_that_the_table_names_is_there(what: str, where: list[str]) -> None:
    assert where, f"no path is named for {what}"
    assert [path for path in where if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("toy", TOYS, ids=[toy.row for toy in TOYS])
def test_the_files_of_the_table_are_all_that_one_touches(program: Path, toy: Toy) -> None:
    named = table()[toy.row]
    assert {path if path in named else f"{Path(path).parent}/" for path in toy.files} == set(named)
    before = run(program, toy)
    assert not all(words in shown(program, before) for words in toy.shows), "the command needs no toy"
    toy.add_to(program)
    after = run(program, toy)
    assert after.returncode == 0, after.stderr
    assert [words for words in toy.shows if words not in shown(program, after)] == []
