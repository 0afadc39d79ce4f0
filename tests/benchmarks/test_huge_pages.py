"""Huge pages are asked for before torch is there, and then torch's large tensors lie in them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import huge_pages
from tests.support.command import ROOT

SYSTEM = Path("/sys/kernel/mm/transparent_hugepage/enabled")
TENSOR_KB = 64 * 1024
PROGRAM = f"""
from pathlib import Path
from benchmarks import huge_pages
huge_pages.ask()
import torch
tensor = torch.ones({TENSOR_KB * 256})
lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
print(next(line.split()[1] for line in lines if line.startswith("AnonHugePages")))
"""


def test_it_is_too_late_once_torch_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch  # noqa: F401

    monkeypatch.delenv(huge_pages.VARIABLE, raising=False)
    huge_pages.ask()
    assert not huge_pages.asked()


@pytest.mark.skipif(
    not SYSTEM.is_file() or "[madvise]" not in SYSTEM.read_text(),
    reason="a system that gives huge pages to those who ask for them",
)
def test_torchs_large_tensors_lie_in_huge_pages_unless_the_variable_says_otherwise() -> None:
    found = []
    for own in ({}, {huge_pages.VARIABLE: "0"}):
        environment = {name: value for name, value in os.environ.items() if name != huge_pages.VARIABLE}
        environment |= {"PYTHONPATH": str(ROOT), **own}
        command = [sys.executable, "-c", PROGRAM]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=100)
        found.append(int(done.stdout))
    assert found[0] > TENSOR_KB / 2
    assert found[1] < TENSOR_KB / 2
