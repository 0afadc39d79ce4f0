"""Data sets that this program writes itself: written once, checked when used again, never over someone else's files."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.data.fingerprint import Fingerprint, fingerprint
from benchmarks.data.found import files_below
from benchmarks.errors import UserError
from benchmarks.files.atomic import temporary_name, write_atomically
from benchmarks.files.locks import locked


def images_below(root: Path) -> Fingerprint:
    """Return the fingerprint of all images below `root`."""
    return fingerprint(root, files_below(root))


def write_once(
    root: Path,
    mark: str,
    version: int,
    folders: Sequence[str],
    write: Callable[[Path], None],
    fingerprint_of: Callable[[Path], Fingerprint] = images_below,
) -> str:
    """Have `write` fill the `folders` below `root` unless they are there and whole; return their fingerprint.

    `mark` is the file that proves it; `fingerprint_of` covers what was written. Raises UserError when `root` holds
    such folders without a mark, which are left alone, or when `root` cannot be written.
    """
    if (known := _fingerprint_if_whole(root, mark, version, fingerprint_of)) is not None:
        return known
    _refuse_theirs(root, mark, folders)
    with locked(root / f".{mark}.lock", math.inf):  # whoever writes it at this moment is waited for
        if (known := _fingerprint_if_whole(root, mark, version, fingerprint_of)) is not None:
            return known
        # It is marked as ours before anything is replaced, so that an interrupted writing can be repeated.
        write_atomically(root / mark, json.dumps({"version": version, "fingerprint": None}).encode())
        for folder in folders:
            shutil.rmtree(root / folder, ignore_errors=True)
        write(root)
        found = str(fingerprint_of(root))
        write_atomically(root / mark, json.dumps({"version": version, "fingerprint": found}).encode())
        return found


def _refuse_theirs(root: Path, mark: str, folders: Sequence[str]) -> None:
    theirs = [folder for folder in folders if (root / folder).exists()]
    if theirs and not (root / mark).exists():
        rule = f"without {' or '.join(theirs)}, or written by this program (then it has {mark})"
        raise UserError.about("digits folder", str(root), rule, "name an empty or new folder")


def _fingerprint_if_whole(
    root: Path, mark: str, version: int, fingerprint_of: Callable[[Path], Fingerprint]
) -> str | None:
    marked = _read_mark(root / mark)
    if marked is None or marked.get("version") != version:
        return None
    try:
        found = str(fingerprint_of(root))
    except (OSError, ValueError):  # no image left (UserError is a ValueError)
        return None
    return found if found == marked.get("fingerprint") else None


def _read_mark(mark: Path) -> dict[str, object] | None:
    """Return what a mark holds; None where there is none, or a damaged one."""
    try:
        marked = json.loads(mark.read_text())
    except (OSError, ValueError):
        return None
    return marked if isinstance(marked, dict) else None


def _refuse_other_version(root: Path, mark: str, version: int) -> None:
    found = (_read_mark(root / mark) or {}).get("version", version)
    if found != version:
        rule = f"version {version} of this data set, which this program writes ({mark} there says {found})"
        raise UserError.about(
            "data.root", str(root), rule, "remove that folder, or name a new one: it is written again"
        )


def provide(root: Path, mark: str, version: int, write: Callable[[Path], object]) -> None:
    """Have `write` make the data set at `root`, whole or not at all, unless something is there already.

    Several processes may call this at once. Raises UserError when what is there was written by this program in another
    version: scores would be of another task.
    """
    if root.exists():
        _refuse_other_version(root, mark, version)
        return
    unfinished = temporary_name(root)
    write(unfinished)
    try:
        unfinished.rename(root)
    except OSError:  # another process of this run was faster
        shutil.rmtree(unfinished, ignore_errors=True)
        if not root.is_dir():
            raise
