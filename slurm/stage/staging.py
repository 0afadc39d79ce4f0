"""Data on the node's own disk: copied by whichever stage comes first, and read from there by all."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.errors import UserError, WorkFailed
from benchmarks.files.atomic import disk_error, make_folder, write_atomically
from benchmarks.files.json_files import read_json
from benchmarks.files.locks import locked

PROOF = ".mimbench-copy.json"
"""Written into a copy last: without it, the copy is not whole."""
ROOT = "data.root="
COPIES_AT_ONCE = 16
COPY_BYTES = 2**20


def with_local_data(argv: Sequence[str], places: Mapping[str, str]) -> list[str]:
    """Return a verb's command line with each data folder that has a place on this node replaced by its copy there."""
    found = []
    for word in argv:
        source = word.removeprefix(ROOT)
        place = places.get(source) if word.startswith(ROOT) else None
        found.append(word if place is None else f"{ROOT}{staged(Path(source), Path(place))}")
    return found


def staged(source: Path, place: Path) -> Path:
    """Copy a data folder to `place` unless a whole copy is there; return `place`.

    Stages of one node that come at once wait for the first. Raises UserError where `source` is no folder or `place`
    holds something else, WorkFailed where it has no room.
    """
    if not source.is_dir():
        raise UserError.about("stage_data", str(source), "a folder that exists", "check the cluster file")
    source, place = source.resolve(), place.absolute()
    with locked(place.with_name(f".{place.name}.lock"), math.inf):
        if _copied_from(place) != str(source):
            _copy(source, place)
    return place


def _copied_from(place: Path) -> str | None:
    """Return the folder of which `place` holds a whole copy; None where it holds none."""
    try:
        return str(read_json(place / PROOF)["source"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _copy(source: Path, place: Path) -> None:
    """Copy the files, then write the proof. A copy that was left unfinished is continued, file by file."""
    other = _copied_from(place)
    if other is not None or (place.is_dir() and any(place.iterdir()) and not _partial(place, source)):
        rule = f"an empty place, or a copy of {source}" + (f" (this is one of {other})" if other else "")
        raise UserError.about("stage_data", str(place), rule, "name another folder, or remove this one on the node")
    make_folder(place)
    write_atomically(_mark(place), str(source).encode())
    sizes = {path.relative_to(source): path.stat().st_size for path in source.rglob("*") if path.is_file()}
    needed, free = sum(sizes.values()), shutil.disk_usage(place).free
    there = sum(path.stat().st_size for path in place.rglob("*") if path.is_file())
    if needed - there > free:
        raise WorkFailed(
            f"no room to copy {source} to {place}: {needed / 1e9:.1f} GB needed, {(free + there) / 1e9:.1f} GB free\n"
            "  remedy: free some space on the node, or leave the folder out of stage_data"
        )
    print(f"copying {source} to {place}: {len(sizes):,} files, {needed / 1e9:.1f} GB", flush=True)
    for folder in {(place / path).parent for path in sizes}:
        make_folder(folder)
    with ThreadPoolExecutor(COPIES_AT_ONCE) as pool:
        for _ in pool.map(lambda path: _copy_file(source / path, place / path, sizes[path]), sizes):
            pass
    proof = {"source": str(source), "files": len(sizes), "bytes": needed}
    write_atomically(place / PROOF, json.dumps(proof).encode())


def _mark(place: Path) -> Path:
    return place.with_name(f".{place.name}.source")


def _partial(place: Path, source: Path) -> bool:
    """Tell whether `place` is an unfinished copy of `source`."""
    return _mark(place).is_file() and _mark(place).read_text(encoding="utf-8") == str(source)


def _copy_file(source: Path, target: Path, size: int) -> None:
    """Copy one file under a temporary name first: a file with its own name is whole.

    The temporary name is always the same, so that a copy which was interrupted leaves none behind. Whatever has it is
    removed, not written to: it may be somebody's link to another file.
    """
    if target.is_file() and target.stat().st_size == size:
        return
    temporary = target.with_name(f".{target.name}.part")
    try:
        temporary.unlink(missing_ok=True)
        with open(source, "rb") as theirs, open(temporary, "xb") as ours:
            shutil.copyfileobj(theirs, ours, COPY_BYTES)
        os.replace(temporary, target)
    except OSError as error:
        raise disk_error(error, target, size) from error
