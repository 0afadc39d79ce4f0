"""Fixtures: a bench of cheap stages, on this machine and on a throwaway Slurm."""

from __future__ import annotations

import contextlib
import getpass
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.slurm.bench import STUB, Bench
from tests.slurm.studies import STUDY
from tests.slurm.throwaway_cluster import C, Cluster, throwaway_cluster


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    found = Bench(tmp_path)
    yield found
    found.close()


@contextlib.contextmanager
def real_slurm(kind: type[C], nodes: int = 2) -> Iterator[C]:
    """A real Slurm. Skips where it is not installed, except in CI as root, where it can be and must be."""
    if (reason := kind.why_not()) is not None:
        if os.environ.get("CI") == "true" and os.geteuid() == 0:
            pytest.fail(reason)
        pytest.skip(reason)
    with throwaway_cluster(kind, nodes) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def slurm_environment() -> Iterator[dict[str, str]]:
    with real_slurm(Cluster) as cluster:
        yield cluster.environment


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Three nodes, whose parts a test may kill."""
    with real_slurm(Cluster, nodes=3) as found:
        yield found


@contextlib.contextmanager
def open_slurm_bench(
    path: Path,
    environment: dict[str, str],
    options: str = "cpus_per_process: 1, time_limit: 10m",
    stub: Path | None = STUB,
) -> Iterator[Bench]:
    """Yield a bench whose `--cluster slurm.yaml` is the throwaway cluster. Its jobs are cancelled at the end."""
    found = Bench(path, environment, stub)
    (path / "slurm.yaml").write_text(f"{{executor: slurm, partition: main, gpus_per_node: 0, {options}}}")
    try:
        yield found
    finally:
        found.close()
        subprocess.run(["scancel", "--user", getpass.getuser()], env={**os.environ, **environment}, check=True)


@pytest.fixture
def slurm_bench(tmp_path: Path, slurm_environment: dict[str, str]) -> Iterator[Bench]:
    with open_slurm_bench(tmp_path, slurm_environment) as found:
        yield found


@pytest.fixture
def two_nodes(tmp_path: Path, small_digits: Path, slurm_environment: dict[str, str]) -> Iterator[Bench]:
    """As `slurm_bench`, for stages that really train in one process on each of the two nodes."""
    assert small_digits.parent == tmp_path
    options = "nodes: 2, cpus_per_process: 1, time_limit: 20m"
    with open_slurm_bench(tmp_path, slurm_environment, options, stub=None) as found:
        yield found


@pytest.fixture
def study_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working directory with a small study's file and an empty data folder."""
    monkeypatch.chdir(tmp_path)
    Path("data").mkdir()
    Path("study.yaml").write_text(yaml.safe_dump(STUDY))
