"""The copy of the program that stages run."""

from __future__ import annotations

import importlib.util
import json
import os
import py_compile
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.version import git_commit
from slurm.launch.snapshot import PARTS, exports, snapshot_path, take_snapshot, variables
from tests.support.command import ROOT

ASK = """
import json, mimbench, slurm.stage.job
from benchmarks.version import git_commit
from benchmarks.config import recipe_names
print(json.dumps([mimbench.__file__, slurm.stage.job.__file__, git_commit(), recipe_names("pretrain")]))
"""


def test_the_copy_is_whole_runs_from_anywhere_and_knows_its_commit(tmp_path: Path) -> None:
    place = take_snapshot(tmp_path)
    environment = {**os.environ, **variables(place)}
    asked = subprocess.run(
        [sys.executable, "-c", ASK], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    program, job, commit, recipes = json.loads(asked.stdout)
    assert [program, job] == [str(place / "mimbench" / "__init__.py"), str(place / "slurm" / "stage" / "job.py")]
    assert commit == git_commit()
    assert recipes == sorted(path.stem for path in (ROOT / "benchmarks" / "recipes" / "pretrain").glob("*.yaml"))
    script = "\n".join([*exports(place), f"{sys.executable} -c 'import slurm; print(slurm.__file__)'"])
    said = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert said.strip() == str(place / "slurm" / "__init__.py")


def test_the_same_code_is_copied_once_and_holds_what_git_knows_of_the_packages(tmp_path: Path) -> None:
    place = take_snapshot(tmp_path)
    before = sorted(path.stat().st_mtime_ns for path in place.rglob("*"))
    assert take_snapshot(tmp_path) == snapshot_path(tmp_path) == place
    assert sorted(path.stat().st_mtime_ns for path in place.rglob("*")) == before
    tracked = subprocess.run(["git", "ls-files", *PARTS], cwd=ROOT, capture_output=True, text=True).stdout.split()
    assert {*tracked} <= {str(path.relative_to(place)) for path in place.rglob("*")}


@pytest.mark.parametrize("change", ["edited", "added", "linked"])
def test_a_copy_that_somebody_has_changed_does_not_run(tmp_path: Path, change: str) -> None:
    place = take_snapshot(tmp_path)
    module = place / "mimbench" / "__init__.py"
    if change == "edited":
        module.write_text("raise SystemExit('not what was submitted')")
    elif change == "added":
        (place / "sitecustomize.py").write_text("raise SystemExit('not what was submitted')")
    else:
        module.rename(tmp_path / "elsewhere.py")
        module.symlink_to(tmp_path / "elsewhere.py")
    assert take_snapshot(tmp_path) == place
    assert not module.is_symlink()
    assert module.read_bytes() == (ROOT / "mimbench" / "__init__.py").read_bytes()
    assert not (place / "sitecustomize.py").exists()
    (aside,) = place.parent.glob(".*.changed.*")
    assert aside.is_dir()


def test_the_copy_is_not_written_through_a_link_that_somebody_put_beside_it(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    place = snapshot_path(tmp_path)
    place.parent.mkdir()
    place.with_name(f".{place.name}.{os.getpid()}.tmp").symlink_to(theirs)
    assert take_snapshot(tmp_path) == place
    assert list(theirs.iterdir()) == []
    assert not place.is_symlink()


def test_what_somebody_compiled_into_the_copy_does_not_run(tmp_path: Path) -> None:
    """Python runs a .pyc file whose header fits its source, whatever else is in it."""
    place = take_snapshot(tmp_path)
    evil = tmp_path / "evil.py"
    evil.write_text("print('not what was submitted')")
    found = (place / "mimbench" / "__init__.py").stat()
    body = Path(py_compile.compile(str(evil), cfile=str(tmp_path / "evil.pyc"), doraise=True)).read_bytes()
    planted = Path(importlib.util.cache_from_source(str(place / "mimbench" / "__init__.py")))
    planted.parent.mkdir()
    planted.write_bytes(body[:8] + struct.pack("<II", int(found.st_mtime), found.st_size) + body[16:])

    def said() -> str:
        command = [sys.executable, "-c", "import mimbench"]
        environment = {**os.environ, **variables(place)}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout

    assert said() == "not what was submitted\n"
    assert take_snapshot(tmp_path) == place
    assert said() == ""


def test_nobody_else_may_write_to_the_copy(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        place = take_snapshot(tmp_path)
        assert not [path for path in [place, *place.rglob("*")] if path.stat().st_mode & 0o022]
        (place / "slurm").chmod(0o777)
        (place / "mimbench" / "__init__.py").chmod(0o666)
        assert take_snapshot(tmp_path) == place
    finally:
        os.umask(before)
    assert not [path for path in [place, *place.rglob("*")] if path.stat().st_mode & 0o022]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
def test_a_copy_of_another_person_is_neither_run_nor_touched(tmp_path: Path) -> None:
    place = take_snapshot(tmp_path)
    for path in [place, *place.rglob("*")]:
        os.chown(path, 65_534, 65_534)
    theirs = sorted((str(path), path.stat().st_mtime_ns) for path in place.rglob("*"))
    own = take_snapshot(tmp_path)
    assert own != place
    assert own.name.startswith(place.name)
    assert take_snapshot(tmp_path) == snapshot_path(tmp_path) == own
    assert sorted((str(path), path.stat().st_mtime_ns) for path in place.rglob("*")) == theirs
    os.chown(own / "mimbench" / "__init__.py", 65_534, 65_534)
    assert take_snapshot(tmp_path) == own
    assert (own / "mimbench" / "__init__.py").stat().st_uid == os.geteuid()


def test_a_hidden_or_compiled_file_in_the_copy_is_a_change(tmp_path: Path) -> None:
    place = take_snapshot(tmp_path)
    (place / "slurm" / "launch.pyc").write_bytes(b"")
    assert take_snapshot(tmp_path) == place
    assert not (place / "slurm" / "launch.pyc").exists()
