"""Where a conversion may be written; checked before anything is read."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.encoders import MANIFEST
from benchmarks.errors import UserError


def about_file(out: Path) -> Path:
    """Return the file beside `out` that says what it is."""
    return out.with_name(out.name + ".json")


def check_destination(out: Path, source: Path) -> None:
    """Raise UserError unless `out` and the file beside it can be written without harm to the checkpoint `source`."""
    try:
        if out.is_dir() or not out.name:
            raise unwritable(out, "a folder", f"name a file in it, e.g. {out / 'encoder.safetensors'}")
        for file in (out, about_file(out)):
            if file.exists() and not file.is_file():
                raise unwritable(file, "no ordinary file", "another name")
            _spare(file, source)
        folder = next(above for above in out.absolute().parents if above.exists())
        with tempfile.TemporaryFile(dir=folder):  # the only sure proof that files can be made there
            pass
    except OSError as error:
        raise cannot_write(out, error) from None


def cannot_write(out: Path, error: OSError) -> UserError:
    """Return the error of a write that the operating system refused."""
    return unwritable(out, error.strerror or str(error), "a folder that exists and may be written to")


def unwritable(out: Path, reason: str, remedy: str) -> UserError:
    """Return the error of an `--out` that cannot be written."""
    return UserError.about("--out", f"{out}: {reason}", "a file that can be written", remedy)


def _spare(file: Path, source: Path) -> None:
    """Raise UserError where writing `file` would change the checkpoint that is read."""
    inside = source.is_dir() and file.resolve().is_relative_to(source.resolve())
    if inside or (file.exists() and any(part.exists() and part.samefile(file) for part in _files_of(source))):
        rule = "another file than the checkpoint that is read, and outside its folder"
        raise UserError.about("--out", str(file), rule, "give a new name elsewhere")


def _files_of(source: Path) -> Iterator[Path]:
    """Yield the file, the files beside it that describe it, and the shards that it names."""
    if not source.is_file():
        return
    from transfer.checkpoint.files.shards import read_index  # torch
    from transfer.checkpoint.refusal import Limits, Refusal

    yield source
    yield from (source.with_name(name) for name in ("config.json", MANIFEST))
    try:
        with source.open("rb") as file:
            index = read_index(file, Limits())
    except (Refusal, OSError):  # reading it will say what is wrong
        return
    yield from (source.with_name(name) for name in (index.shards if index else ()))
