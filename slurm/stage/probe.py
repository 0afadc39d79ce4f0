"""What a job of `mimbench doctor --cluster` finds on its node: `python -m slurm.stage.probe ANSWERS PLACE...`."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.config import Config
from benchmarks.doctor import PROBE
from benchmarks.errors import UserError, WorkFailed
from benchmarks.files.atomic import make_folder, write_atomically

IMPORT_S = 45
"""How long importing torch may take."""


class NodeReport(Config):
    """What one node of the job found."""

    node: str
    at: float
    """Seconds since the epoch, by the node's clock."""
    cpus: int
    gpus: int | None
    """How many torch sees; None where it could not be imported."""
    engine: str
    """The versions of torch and CUDA, or why torch could not be imported."""
    address: str | None
    """What the node's name resolves to; None where it does not resolve."""
    commands: tuple[str, ...]
    """Slurm's commands that requeueing needs, as far as the node has them."""
    data_places: dict[str, str]
    """Why each place of the cluster file's `stage_data` cannot be written, by its path; empty where it can."""


def probe(answers: str, data_places: Sequence[str]) -> None:
    """Write what this node has into the folder `answers`; the job has one such task on each node."""
    name = os.environ.get("SLURMD_NODENAME") or socket.gethostname()
    began = time.time()
    gpus, engine = _engine()
    report = NodeReport(
        node=name,
        at=began,
        cpus=len(os.sched_getaffinity(0)),
        gpus=gpus,
        engine=engine,
        address=_address(name),
        commands=tuple(command for command in ("squeue", "scontrol") if shutil.which(command)),
        data_places={place: _why_not_writable(Path(place)) for place in data_places},
    )
    write_atomically(Path(answers) / f"{name}.json", report.model_dump_json().encode())


def _engine() -> tuple[int | None, str]:
    try:
        done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, timeout=IMPORT_S)
    except subprocess.TimeoutExpired:
        return None, f"not imported within {IMPORT_S} s"
    if done.returncode:
        return None, (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    found = json.loads(done.stdout.splitlines()[-1])
    return len(found["gpus"]), f"torch {found['torch']}, CUDA {found['cuda'] or 'none'}"


def _address(name: str) -> str | None:
    try:
        return str(socket.getaddrinfo(name, None)[0][4][0])
    except OSError:
        return None


def _why_not_writable(place: Path) -> str:
    try:
        make_folder(place.parent)
    except (UserError, WorkFailed) as error:
        return str(error).splitlines()[0]
    return "" if os.access(place.parent, os.W_OK) else f"{place.parent} cannot be written"


if __name__ == "__main__":
    probe(sys.argv[1], sys.argv[2:])
