"""The folder that is published: made whole beside its place and then put there; nobody else's file is overwritten."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from benchmarks.errors import UserError
from benchmarks.files.atomic import disk_error, make_folder, temporary_name, write_atomically
from benchmarks.files.json_files import read_json

MARK = "mimbench.json"
"""The file that makes a folder one of ours: it has the sha256 of every other one."""


def require_ours(out: Path) -> dict[str, str]:
    """Return the digests of the files that an earlier publication left in `out`; none where it is empty or not there.

    Raises UserError where anything else lies there.
    """
    if not os.path.lexists(out) or (out.is_dir() and not any(out.iterdir())):
        return {}
    remedy = "name a new folder, or remove this one yourself"
    if not out.is_dir() or out.is_symlink():
        raise UserError.about("--out", str(out), "a folder", remedy)
    try:
        files = read_json(out / MARK)["files"]
        assert all(isinstance(text, str) for pair in files.items() for text in pair)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, AssertionError):
        rule = f"a new folder, or one that was published before (with {MARK})"
        raise UserError.about("--out", str(out), rule, remedy) from None
    return {name: digest for name, digest in files.items() if _is_inside(name)}


def _is_inside(name: str) -> bool:
    """Tell whether a name that a file states is one of ours: no path that leads elsewhere."""
    parts = name.split("/")
    return len(parts) <= 2 and all(part and part not in (".", "..") and not part.startswith(".") for part in parts)


@contextlib.contextmanager
def staged(out: Path, files: Mapping[str, bytes]) -> Iterator[Path]:
    """Write files to a new folder beside `out`, which is removed when the block ends."""
    make_folder(out.absolute().parent)
    stage = temporary_name(out.absolute())
    try:
        for name, data in files.items():
            make_folder((stage / name).parent)
            write_atomically(stage / name, data)
        yield stage
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def put(out: Path, files: Mapping[str, bytes], known: Mapping[str, str]) -> list[str]:
    """Write `files` to `out` in the place of those that are `known` of an earlier publication; return their names.

    Its mark is written last. Raises UserError where a file there is neither as it was published nor as it will be.
    """
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    for name in sorted({*known, *files}):
        path = out / name
        if os.path.lexists(path) and (
            not path.is_file() or path.is_symlink() or _sha256(path) not in (known.get(name), digests.get(name))
        ):
            rule = "as it was published: this file is another one now"
            raise UserError.about("--out", str(path), rule, "move it away, or name another folder")
    mark = json.dumps({"made_by": "mimbench checkpoint publish", "files": dict(sorted(digests.items()))}, indent=2)
    try:
        for name in known.keys() - files.keys():
            (out / name).unlink(missing_ok=True)
        for name, data in files.items():
            make_folder((out / name).parent)
            write_atomically(out / name, data)
        write_atomically(out / MARK, f"{mark}\n".encode())
    except OSError as error:
        raise disk_error(error, out, sum(map(len, files.values()))) from error
    return [*sorted(files), MARK]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
