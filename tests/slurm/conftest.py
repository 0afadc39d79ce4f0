"""Fixtures: a bench of cheap stages, on this machine and on a throwaway Slurm."""

from __future__ import annotations

import getpass
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.slurm.bench import Bench
from tests.slurm.throwaway_cluster import throwaway_cluster, why_not


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    found = Bench(tmp_path)
    yield found
    found.close()


@pytest.fixture(scope="session")
def slurm_environment() -> Iterator[dict[str, str]]:
    """A real Slurm. Skips where it is not installed, except in CI as root, where it can be and must be."""
    if (reason := why_not()) is not None:
        if os.environ.get("CI") == "true" and os.geteuid() == 0:
            pytest.fail(reason)
        pytest.skip(reason)
    with throwaway_cluster() as environment:
        yield environment


@pytest.fixture
def slurm_bench(tmp_path: Path, slurm_environment: dict[str, str]) -> Iterator[Bench]:
    """A bench whose `--cluster slurm.yaml` is the throwaway cluster. Its jobs are cancelled at the end."""
    found = Bench(tmp_path, slurm_environment)
    cluster = "{executor: slurm, partition: main, gpus_per_node: 0, cpus_per_process: 1, time_limit: 10m}"
    (tmp_path / "slurm.yaml").write_text(cluster)
    yield found
    found.close()
    scancel = ["scancel", "--user", getpass.getuser()]
    subprocess.run(scancel, env={**os.environ, **slurm_environment}, check=True)
