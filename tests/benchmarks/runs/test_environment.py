"""What a record says of the machine and the process."""

from __future__ import annotations

import os
import subprocess
import sys

from benchmarks.runs.environment import peak_memory_mb
from tests.support.command import ROOT

HELD = 300 * 10**6
PROGRAM = "from benchmarks.runs.environment import peak_memory_mb; print(peak_memory_mb())"


def test_peak_memory_is_that_of_the_program_and_not_of_what_started_it() -> None:
    held = b"x" * HELD
    assert peak_memory_mb() > len(held) / 1e6
    command, environment = [sys.executable, "-c", PROGRAM], os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)
    assert 5 < float(done.stdout) < 150
