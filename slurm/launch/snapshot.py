"""The code that a pipeline's stages run: a copy of this program, taken when they are submitted.

A stage may wait in a queue for days, and the checkout it was submitted from goes on changing. The copy holds what an
installation would: the packages and their data files, no tests, no caches, no git history. What a person's stages run
belongs to that person, or to root, and nobody else may write to it.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.files.atomic import make_folder, temporary_name
from benchmarks.version import COMMIT, git_commit

OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
STATED = Path("benchmarks") / COMMIT.name
PARTS = ("mimbench", "benchmarks", "pretrain", "transfer", "reports", "slurm")


def snapshot_path(folder: Path) -> Path:
    """Return where in the pipeline's folder a snapshot of today's code lies: its name is a digest of the code.

    Where another person's copy has that name, ours has our user's number after it: theirs is left to their stages.
    """
    digest = hashlib.sha256()
    for path in _files():
        content = (_root() / path).read_bytes()
        digest.update(f"{path}\0{len(content)}\0".encode() + content)
    place = folder.resolve() / "code" / digest.hexdigest()[:12]
    return place if not os.path.lexists(place) or _is_ours(place.lstat()) else place.with_suffix(f".{os.geteuid()}")


def take_snapshot(folder: Path) -> Path:
    """Copy the running program into the pipeline's folder, unless the same code is there already; return where.

    A copy that somebody has changed is set aside: stages run what its name, a digest of the code, promises.
    """
    place = snapshot_path(folder)
    if place.is_dir() and not place.is_symlink():
        _close(place)
        if _is_unchanged(place):
            return place
    if os.path.lexists(place):
        aside = place.with_name(f".{place.name}.changed.{time.time_ns()}")
        print(f"{place} was changed since it was copied: it is set aside as {aside.name}", flush=True)
        place.rename(aside)
    temporary = temporary_name(place)
    make_folder(place.parent)
    temporary.mkdir()
    for path in _files():
        make_folder((temporary / path).parent)
        shutil.copyfile(_root() / path, temporary / path)
    (temporary / STATED).write_text(git_commit() or "")
    _close(temporary)
    temporary.rename(place)
    return place


def _is_unchanged(place: Path) -> bool:
    """Tell whether a copy holds the running program's files and no others, and nobody else may write to them."""
    found = {path: path.lstat() for path in [place, *place.rglob("*")]}
    if any(stat.S_ISLNK(each.st_mode) or each.st_mode & OTHERS_WRITE or not _is_ours(each) for each in found.values()):
        return False
    files = {path.relative_to(place) for path, each in found.items() if not stat.S_ISDIR(each.st_mode)}
    files.discard(STATED)
    return files == {*_files()} and all((place / path).read_bytes() == (_root() / path).read_bytes() for path in files)


def _is_ours(found: os.stat_result) -> bool:
    """Tell whether a file belongs to this user, or to root, who may do anything anyway."""
    return found.st_uid in (0, os.geteuid())


def _close(place: Path) -> None:
    """Let nobody else write to a copy of ours, and drop what Python compiled there: it is run without its source."""
    for path in [place, *place.rglob("*")]:
        found = path.lstat()
        if found.st_uid == os.geteuid() and not stat.S_ISLNK(found.st_mode) and found.st_mode & OTHERS_WRITE:
            path.chmod(stat.S_IMODE(found.st_mode) & ~OTHERS_WRITE)
    for compiled in place.rglob("__pycache__"):
        if not compiled.is_symlink():
            shutil.rmtree(compiled, ignore_errors=True)


def variables(snapshot: Path) -> dict[str, str]:
    """Return the environment in which Python takes the program from the snapshot, wherever it is started."""
    paths = [str(snapshot), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"PYTHONPATH": os.pathsep.join(paths), "PYTHONSAFEPATH": "1"}  # safe: not from the working directory


def exports(snapshot: Path) -> list[str]:
    """Return the same as lines of a batch script, which keep the PYTHONPATH that is set where it runs."""
    return [f"export PYTHONPATH={shlex.quote(str(snapshot))}${{PYTHONPATH:+:$PYTHONPATH}}", "export PYTHONSAFEPATH=1"]


def _root() -> Path:
    return Path(__file__).parents[2]


def _files() -> Iterator[Path]:
    """Yield the program's files, relative to its root, in a fixed order; the commit is no part of the code."""
    for part in PARTS:
        found = sorted((_root() / part).rglob("*")) if (_root() / part).is_dir() else [_root() / part]
        for path in found:
            relative = path.relative_to(_root())
            hidden = any(name.startswith(".") or name == "__pycache__" for name in relative.parts)
            if path.is_file() and not hidden and relative != STATED:
                yield relative
