"""Answers that need no torch come without the seconds that importing it takes."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.command import ROOT

ASKED = "import sys, mimbench; code = mimbench.main(sys.argv[1:]); sys.exit(9 if 'torch' in sys.modules else code)"


@pytest.mark.parametrize(
    "command",
    [
        ["checkpoint", "inspect", "nowhere.pth"],
        ["checkpoint", "convert", "nowhere.pth", "--to", "timm", "--out", "new.pth"],
        ["transfer", "digits", "--encoder", "nowhere.pth"],
    ],
)
def test_a_missing_file_is_said_without_torch(command: list[str]) -> None:
    done = subprocess.run([sys.executable, "-c", ASKED, *command], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert "nowhere.pth" in done.stderr
