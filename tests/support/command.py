"""The real command, as a person runs it: a process of its own."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path

import mimbench as entry

ROOT = Path(__file__).parents[2]


def here(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `mimbench ARGUMENTS` in this process, to test what it prints and not how a process starts and ends."""
    output, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        try:
            code = entry.main(arguments)
        except SystemExit as left:  # argparse's way
            code = int(left.code or 0)
    return subprocess.CompletedProcess(arguments, code, output.getvalue(), errors.getvalue())


def mimbench(*arguments: str, cwd: Path | None = None, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run `mimbench ARGUMENTS`; `path`, if given, comes first among the folders that Python imports from."""
    places = [str(place) for place in (path, ROOT) if place is not None]
    return subprocess.run(
        [sys.executable, "-m", "mimbench", *arguments],
        cwd=cwd or ROOT,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(places), "COLUMNS": "80"},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=300,
    )
