"""The version of this program and the commit of its code: in a checkout, installed, or in a pipeline's copy of it."""

from __future__ import annotations

import subprocess
from pathlib import Path

__version__ = "0.1.0"

COMMIT = Path(__file__).with_name("COMMIT")
"""Present only in a copy of the code (wheel, source archive, snapshot of a pipeline): the commit it was taken from."""


def program() -> str:
    """Return `mimbench 0.1.0 (commit 0123456789ab)`, the commit as far as it is known."""
    commit = git_commit()
    return f"mimbench {__version__}" + (f" (commit {commit})" if commit else "")


def git_commit() -> str | None:
    """Return the commit of this code, with `+changes` where files of its packages differ from it or are new.

    It is None where git does not know this file and no copy stated it: outside git, or in another's repository.
    """
    if COMMIT.is_file():
        return COMMIT.read_text(encoding="utf-8") or None
    root = Path(__file__).parents[1]
    packages = [str(marker.parent) for marker in root.glob("*/py.typed")]
    try:
        _git(root, "ls-files", "--error-unmatch", __file__)
        commit = _git(root, "rev-parse", "--short=12", "HEAD")
        changed = _git(root, "status", "--porcelain", "--untracked-files=normal", "--", *packages)
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{commit}+changes" if changed else commit


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "--no-optional-locks", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout.strip()
