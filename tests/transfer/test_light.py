"""Answers that need no torch come without the seconds that importing it takes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.command import ROOT

ASKED = "import sys, mimbench; code = mimbench.main(sys.argv[1:]); sys.exit(9 if 'torch' in sys.modules else code)"


ANSWERED = """
import contextlib, io, sys, mimbench
with contextlib.redirect_stdout(io.StringIO()):
    code = mimbench.main(sys.argv[2:])
print(*sorted(set(sys.argv[1].split()).intersection(sys.modules)))
sys.exit(code)
"""
TORCH = "torch torchvision timm transformers datasets sklearn scipy pandas matplotlib submitit fsspec huggingface_hub"


@pytest.mark.parametrize(
    ("command", "not_loaded"),
    [
        ("list formats", f"{TORCH} numpy PIL"),
        ("list tasks", f"{TORCH} numpy PIL"),
        ("transfer digits --encoder random:digits_swin --print", f"{TORCH} numpy PIL rich"),
        ("pretrain digits_simmim data.root=x --print", f"{TORCH} numpy PIL rich"),
    ],
)
def test_what_needs_no_library_loads_none(command: str, not_loaded: str, tmp_path: Path) -> None:
    program = [sys.executable, "-c", ANSWERED, not_loaded, *command.split()]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(program, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr


@pytest.mark.parametrize(
    "command",
    [
        ["checkpoint", "inspect", "nowhere.pth"],
        ["checkpoint", "convert", "nowhere.pth", "--to", "timm", "--out", "new.pth"],
        ["transfer", "digits", "--encoder", "nowhere.pth"],
        ["evaluate", "digits", "--model", "nowhere.pth"],
        ["show", "nowhere.pth", "--out", "pictures"],
    ],
)
def test_a_missing_file_is_said_without_torch(command: list[str]) -> None:
    done = subprocess.run([sys.executable, "-c", ASKED, *command], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert "nowhere.pth" in done.stderr
