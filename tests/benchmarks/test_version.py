"""The commit that the code states, in git repositories made for it (of a wheel: tests/mimbench/test_wheel.py)."""

from __future__ import annotations

import runpy
import shutil
import subprocess
from pathlib import Path

import pytest

from benchmarks import version


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository with one package, `benchmarks`, that holds the module under test."""
    package = tmp_path / "benchmarks"
    package.mkdir()
    shutil.copy(version.__file__, package / "version.py")
    (package / "py.typed").touch()
    (tmp_path / "README.md").write_text("before")
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    for command in (["init", "-q"], ["add", "--all"], ["commit", "-q", "-m", "first"]):
        subprocess.run([*git, *command], cwd=tmp_path, check=True)
    return tmp_path


def stated(checkout: Path) -> str | None:
    """Ask the copy of the module that lies there."""
    answer: str | None = runpy.run_path(str(checkout / "benchmarks" / "version.py"))["git_commit"]()
    return answer


def head(checkout: Path) -> str:
    """Return the commit, as git has it."""
    return subprocess.check_output(["git", "log", "-1", "--format=%H"], cwd=checkout, text=True)[:12]


def test_a_checkout_states_its_commit_whatever_lies_beside_the_packages(checkout: Path) -> None:
    (checkout / "README.md").write_text("after")
    (checkout / "notes.txt").touch()
    assert stated(checkout) == head(checkout)


@pytest.mark.parametrize("name", ["version.py", "new.py"])
def test_a_changed_and_a_new_file_of_a_package_are_changes(checkout: Path, name: str) -> None:
    with (checkout / "benchmarks" / name).open("a") as file:
        file.write("# changed")
    assert stated(checkout) == f"{head(checkout)}+changes"


def test_a_copy_states_what_was_written_into_it(checkout: Path) -> None:
    (checkout / "benchmarks" / "COMMIT").write_text("0123456789ab+changes")
    assert stated(checkout) == "0123456789ab+changes"


def test_outside_git_and_in_the_repository_of_others_no_commit_is_stated(checkout: Path) -> None:
    subprocess.run(["git", "rm", "-q", "--cached", "benchmarks/version.py"], cwd=checkout, check=True)
    assert stated(checkout) is None
    shutil.rmtree(checkout / ".git")
    assert stated(checkout) is None
