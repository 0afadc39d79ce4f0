"""The files of this repository: in a clone those of git, in an unpacked source archive all that lie there."""

from __future__ import annotations

import subprocess

from tests.support.command import ROOT


def repository_files() -> set[str]:
    """Return the files that a clone has, or would have once they are committed, relative to the top."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True)
    if done.returncode == 0:
        return {name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()}
    return {str(path.relative_to(ROOT)) for path in ROOT.rglob("*") if path.is_file()}
