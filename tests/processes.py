"""Several processes that train one run together, as a launcher starts them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

from tests.runs import REPOSITORY


def launch(command: list[str], processes: int = 2, **environment: str) -> list[subprocess.Popen[str]]:
    """Start the ranks of one run of `mimbench`, as a launcher does."""
    return launch_python(["-m", "mimbench", *command], processes, **environment)


def launch_python(arguments: list[str], processes: int = 2, **environment: str) -> list[subprocess.Popen[str]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return [
        subprocess.Popen(
            [sys.executable, *arguments],
            cwd=REPOSITORY,
            env={
                **os.environ,
                "OMP_NUM_THREADS": "1",
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
                "WORLD_SIZE": str(processes),
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                **environment,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(processes)
    ]


def finished(ranks: list[subprocess.Popen[str]]) -> list[tuple[int, str, str]]:
    """Return exit code, output and messages of every rank."""
    found = [process.communicate(timeout=240) for process in ranks]
    return [(process.returncode, *texts) for process, texts in zip(ranks, found, strict=True)]
