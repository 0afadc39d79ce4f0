"""Files that a recipe names: lists of labels, of classes, of a subset."""

from __future__ import annotations

import hashlib
from pathlib import Path

from benchmarks.errors import UserError


def find_file(root: Path, field: str, given: str | None) -> Path | None:
    """Return the file that `given` names, below the data's root or else as a path. Raises UserError without one."""
    if given is None:
        return None
    found = next((path for path in (root / given, Path(given)) if path.is_file()), None)
    if found is None:
        raise UserError.about(field, given, f"a file below {root}, or the path of a file", "check the path")
    return found


def text_of(file: Path, field: str) -> str:
    """Return the file's text. Raises UserError where it cannot be read as UTF-8."""
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError.about(field, f"{file} ({error})", "a text file in UTF-8", "check the path") from None


def sha256_of(file: Path) -> str:
    """Return the sha256 (hex) of the file's bytes."""
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
