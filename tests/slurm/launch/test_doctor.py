"""What a job of one minute finds out about a cluster's nodes."""

from __future__ import annotations

import re
import sys

import pytest

from tests.slurm.bench import Bench


@pytest.mark.long
def test_a_cluster_that_works_is_reported_with_what_its_nodes_have(slurm_bench: Bench) -> None:
    place = slurm_bench.path / "local" / "copy"
    text = (slurm_bench.path / "slurm.yaml").read_text().replace("}", f", nodes: 2, stage_data: {{/data: {place}}}}}")
    (slurm_bench.path / "slurm.yaml").write_text(text)
    asked = slurm_bench.mimbench("doctor", "--cluster", "slurm.yaml")
    for words in ("2 of 2 nodes answered", "n1 CPUs", "n2 torch", "squeue, scontrol", "can be written"):
        assert words in asked.stdout
    names = [line.split()[1:3] for line in asked.stdout.splitlines() if line.lstrip().startswith("wrong")]
    assert names in ([], [["n1", "name"], ["n2", "name"]])  # virtual nodes have no address of their own
    assert asked.returncode == (1 if names else 0)


@pytest.mark.faults
def test_the_notice_before_the_time_limit_does_not_end_the_job(slurm_bench: Bench) -> None:
    """Slurm looks every 30 s whose limit is near: within its minute, a job that is slow to start gets the notice."""
    python = slurm_bench.path / "slow_python"
    python.write_text(f'#!/bin/sh\nsleep 31\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    text = (slurm_bench.path / "slurm.yaml").read_text().replace("}", f", python: {python}}}")
    (slurm_bench.path / "slurm.yaml").write_text(text)
    assert "1 of 1 nodes answered" in slurm_bench.mimbench("doctor", "--cluster", "slurm.yaml").stdout


def test_a_cluster_that_refuses_or_breaks_the_job_is_reported(slurm_bench: Bench) -> None:
    good = (slurm_bench.path / "slurm.yaml").read_text()
    (slurm_bench.path / "slurm.yaml").write_text(good.replace("partition: main", "partition: nowhere"))
    refused = slurm_bench.mimbench("doctor", "--cluster", "slurm.yaml")
    assert refused.returncode == 1
    assert "invalid partition" in refused.stdout
    assert "Traceback" not in refused.stdout
    here = slurm_bench.mimbench("doctor", "--cluster", "local")
    assert here.returncode == 2
    assert "a Slurm cluster" in here.stdout


def test_a_python_that_the_node_lacks_is_named_by_the_log_of_the_job(slurm_bench: Bench) -> None:
    text = (slurm_bench.path / "slurm.yaml").read_text().replace("}", ", python: /nowhere/python}")
    (slurm_bench.path / "slurm.yaml").write_text(text)
    asked = slurm_bench.mimbench("doctor", "--cluster", "slurm.yaml")
    assert asked.returncode == 1
    words = " ".join(asked.stdout.split())
    assert re.search(r"0 of 1 nodes answered; FAILED; its log ends: .*/nowhere/python.*No such file", words), words


@pytest.mark.long
def test_each_place_that_stages_may_have_is_probed_once(slurm_bench: Bench) -> None:
    profiles = "{two: {nodes: 2}, more: {time_limit: 20m}, cpu: {partition: cpu}, none: {partition: nowhere}}"
    text = (slurm_bench.path / "slurm.yaml").read_text().replace("}", f", profiles: {profiles}, report: cpu}}")
    (slurm_bench.path / "slurm.yaml").write_text(text)
    asked = slurm_bench.mimbench("doctor", "--cluster", "slurm.yaml")
    assert re.findall(r"^job \d+ \((\w+), ", asked.stdout, re.MULTILINE) == ["two", "cpu"]
    told = " ".join(asked.stdout.split())
    for words in ("two: job 2 of 2 nodes answered", "cpu: job 1 of 1 nodes answered", "cpu: n1 CPUs"):
        assert words in told
    assert re.search(r"none: job 0 of 1 nodes answered; not taken by Slurm: .*invalid partition", told)
    assert asked.returncode == 1
