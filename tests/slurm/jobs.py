"""What Slurm and the pipeline's own status say of the jobs of a bench."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from tests.slurm.bench import Bench


def states(bench: Bench) -> dict[str, str]:
    """Return the state of each stage as `pipeline status` shows it, without its reason."""
    lines = bench.mimbench("pipeline", "status", bench.folder.id).stdout.splitlines()
    words = [line.split() for line in lines]
    return {line[0]: line[1].rstrip(":") for line in words if line and line[0] in jobs(bench)}


def queue(bench: Bench) -> list[str]:
    command = ["squeue", "--noheader", "--format=%i"]
    return subprocess.run(command, env=bench.environment, capture_output=True, text=True, check=True).stdout.split()


def wait_until_empty(bench: Bench) -> dict[str, str]:
    """Wait until Slurm has no job any more; return the state of each stage."""
    bench.wait_for(lambda: queue(bench) == [], "all jobs have ended", every_s=0.25)
    return states(bench)


def jobs(bench: Bench) -> dict[str, Any]:
    manifest = json.loads(bench.folder.manifest.read_text())
    return {entry["stage"]["name"]: entry["job"] for entry in manifest["entries"]}
