"""What a site's partitions have: a stage that none can start is refused, others start where they belong."""

from __future__ import annotations

import re
import subprocess
from typing import Any

import pytest

from slurm.controller.partitions import Nodes, Partition, Site, find_misfits
from slurm.graph.cluster import SlurmCluster
from slurm.state.folder import PipelineFolder, list_pipelines
from tests.slurm.bench import STAGES, Bench
from tests.slurm.jobs import jobs, wait_until_empty

SITE_NODES = Site(
    {"gpu": Partition(2880, [Nodes(4, 64, 512_000, 8)]), "cpu": Partition(None, [Nodes(9, 32, 64_000, 0)])}, "gpu"
)


@pytest.mark.parametrize(
    ("asked", "stated"),
    [
        ({}, None),
        ({"partition": "gpus"}, "partition = gpus"),
        ({"partition": "gpus", "sbatch": {"clusters": "other"}}, None),
        ({"nodes": 9, "gpus_per_node": 0, "memory": "60GB"}, None),  # in cpu, where a site's plugin may put it
        ({"time_limit": "3d"}, "at most the limit of partition gpu (2880m)"),
        ({"nodes": 5}, "4 nodes, where 5 are asked for"),
        ({"gpus_per_node": 9}, "gpus_per_node = 9"),
        ({"cpus_per_process": 9}, "0 nodes with 72 CPUs"),
        ({"memory": "1TB"}, "memory = 1TB"),
        ({"partition": "cpu", "nodes": 5}, "gpus_per_node = 8"),
        ({"partition": "cpu,gpu"}, None),
        ({"partition": "cpu", "nodes": 9, "gpus_per_node": 0, "memory": "60GB", "time_limit": "30d"}, None),
    ],
)
def test_what_no_partition_has_is_named(asked: dict[str, Any], stated: str | None) -> None:
    start = {"time_limit": "24h", "nodes": 2, "gpus_per_node": 8, "cpus_per_process": 8, "memory": "500GB"}
    cluster = SlurmCluster.model_validate({"executor": "slurm", **start, **asked})
    found = [str(error) for error in find_misfits(SITE_NODES, {"pretrain.simmim.resources": cluster})]
    assert len(found) == (stated is not None)
    assert stated is None or stated in found[0]


TWO_PARTITIONS = """
{executor: slurm, partition: main, gpus_per_node: 0, cpus_per_process: 1, time_limit: 10m,
 profiles: {two: {nodes: 2}, cpu: {partition: cpu, time_limit: 5m}}, report: cpu}
"""


def asked_of_slurm(bench: Bench) -> dict[str, list[str]]:
    """Return partition, nodes and time limit of every live job, by the end of its name."""
    command = ["squeue", "--noheader", "--format=%j %P %D %l"]
    stated = subprocess.run(command, env=bench.environment, capture_output=True, text=True, check=True).stdout
    return {line.split()[0].partition("/")[2]: line.split()[1:] for line in stated.splitlines()}


@pytest.mark.long
def test_stages_of_one_pipeline_run_in_two_partitions_and_go_on_resized(slurm_bench: Bench) -> None:
    (slurm_bench.path / "slurm.yaml").write_text(TWO_PARTITIONS)
    slurm_bench.hold("pretrain.simmim")
    submitted = slurm_bench.submit("--cluster", "slurm.yaml", "pretrain.simmim.resources=two", "seeds=[0]")
    assert submitted.returncode == 0, submitted.stdout
    slurm_bench.wait_for(lambda: slurm_bench.begun().count("pretrain.simmim") == 2, "both nodes are at work")
    found = asked_of_slurm(slurm_bench)
    assert found["pretrain.simmim"] == ["main", "2", "10:00"]
    assert found["digits.simmim.seed0"] == ["main", "1", "10:00"]
    assert found["report"] == ["cpu", "1", "5:00"]
    slurm_bench.wait_for(lambda: slurm_bench.step_of("pretrain.simmim") == 3, "it is held in step 3")
    assert slurm_bench.mimbench("pipeline", "cancel", "small").returncode == 0
    wait_until_empty(slurm_bench)
    before = slurm_bench.folder

    slurm_bench.let_go("pretrain.simmim")
    again = slurm_bench.submit("--cluster", "slurm.yaml", "seeds=[0]")  # the same pipeline, on one node
    assert again.returncode == 0, again.stdout
    assert slurm_bench.folder.path == before.path
    stages = [stage for stage in STAGES if not stage.endswith("seed1")]
    assert wait_until_empty(slurm_bench) == dict.fromkeys(stages, "completed")
    begun = [line for line in slurm_bench.diary("begins") if line["stage"] == "pretrain.simmim"]
    assert [line["rank"] for line in begun[2:]] == [0], "one process went on"
    runs = {path.name for path in (slurm_bench.path / "runs").glob("pretrain-*")}
    assert len(runs) == 1, "with the same run"


@pytest.mark.long
def test_a_dependency_on_a_foreign_job_holds_the_first_stages_back(slurm_bench: Bench) -> None:
    environment = slurm_bench.environment
    command = ["sbatch", "--parsable", "--hold", "--output=/dev/null", "--wrap=true"]
    other = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()
    text = TWO_PARTITIONS.replace("profiles", f"sbatch: {{dependency: 'afterok:{other}'}}, profiles")
    (slurm_bench.path / "slurm.yaml").write_text(text)
    assert slurm_bench.submit("--cluster", "slurm.yaml", "seeds=[0]").returncode == 0
    job = jobs(slurm_bench)["pretrain.simmim"]["id"]
    shown = ["scontrol", "show", "job", jobs(slurm_bench)["digits.simmim.seed0"]["id"]]
    stated = subprocess.run(shown, env=environment, capture_output=True, text=True, check=True).stdout
    assert f"Dependency=afterok:{other}(unfulfilled),afterok:{job}(unfulfilled)" in stated
    assert slurm_bench.begun() == []
    subprocess.run(["scontrol", "release", other], env=environment, check=True)
    assert {*wait_until_empty(slurm_bench).values()} == {"completed"}


@pytest.mark.long
def test_a_pipeline_waits_for_another_and_for_a_job(slurm_bench: Bench) -> None:
    environment = slurm_bench.environment
    slurm_bench.hold("pretrain.simmim")
    first = slurm_bench.submit("--cluster", "slurm.yaml", "seeds=[0]")
    assert first.returncode == 0, first.stdout
    folder = slurm_bench.folder
    command = ["sbatch", "--parsable", "--hold", "--output=/dev/null", "--wrap=true"]
    job = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()
    other = [
        *("--cluster", "slurm.yaml", "seeds=[0]", "name=other"),
        "pretrain.simmim.seed=1",
        "tasks.digits.data=desk",
    ]
    after = f"after=[{job}, {folder.path.relative_to(slurm_bench.path)}]"
    second = slurm_bench.submit(*other, after)
    assert second.returncode == 0, second.stdout
    (waiting,) = (found for found in list_pipelines(slurm_bench.path / "pipelines") if found.path != folder.path)
    entry = waiting.read_manifest().entry("pretrain.simmim").job
    assert entry is not None
    shown = ["scontrol", "show", "job", entry.id]
    stated = subprocess.run(shown, env=environment, capture_output=True, text=True, check=True).stdout
    live = jobs_of(folder)
    dependency = re.search(r"Dependency=(\S+)", stated)
    assert dependency is not None
    waits_for = {*re.findall(r"afterok:(\w+)\(unfulfilled\)", dependency.group(1))}
    assert {job, live["pretrain.simmim"], live["report"]} <= waits_for <= {job, *live.values()}

    slurm_bench.let_go("pretrain.simmim")
    slurm_bench.wait_for(lambda: (folder.report / "leaderboard.txt").is_file(), "the first is done")
    assert not waiting.attempt("pretrain.simmim").exists(), "the job is still held"
    subprocess.run(["scontrol", "release", job], env=environment, check=True)
    slurm_bench.wait_for(lambda: (waiting.report / "leaderboard.txt").is_file(), "the second is done")
    slurm_bench.wait_for(lambda: asked_of_slurm(slurm_bench) == {}, "all jobs have ended")
    again = slurm_bench.submit(*other, after)
    assert again.returncode == 0, again.stdout
    assert again.stdout.count("completed already") == 4


def jobs_of(folder: PipelineFolder) -> dict[str, str]:
    return {entry.stage.name: entry.job.id for entry in folder.read_manifest().entries if entry.job is not None}


@pytest.mark.long
def test_what_cannot_be_waited_for_is_refused(slurm_bench: Bench) -> None:
    for cluster, after, stated in (
        ("slurm.yaml", "999999", "a job that Slurm knows"),
        ("slurm.yaml", "pipelines/none", "the folder of a pipeline that was submitted"),
        ("local", "17", "on this machine nothing is waited for"),
    ):
        refused = slurm_bench.submit("--cluster", cluster, f"after=[{after}]")
        assert refused.returncode == 2, refused.stdout
        assert stated in refused.stdout
    slurm_bench.fail("pretrain.simmim")
    assert slurm_bench.submit("--cluster", "slurm.yaml", "seeds=[0]").returncode == 0
    wait_until_empty(slurm_bench)
    first = slurm_bench.folder.path.relative_to(slurm_bench.path)
    refused = slurm_bench.submit("--cluster", "slurm.yaml", "name=other", f"after=[{first}]")
    assert refused.returncode == 2, refused.stdout
    assert "pretrain.simmim is failed and has none" in refused.stdout


@pytest.mark.parametrize(
    ("override", "stated"),
    [
        ("pretrain.simmim.resources={partition: nowhere}", "pretrain.simmim.resources.partition = nowhere"),
        ("pretrain.simmim.resources={nodes: 4}", "what partition main has: 2 nodes"),
        ("tasks.digits.resources={time_limit: 2h, partition: cpu}", "at most the limit of partition cpu (60m)"),
        ("report.resources={cpus_per_process: 5}", "report.resources.cpus_per_process = 5"),
    ],
)
def test_what_no_partition_has_is_refused_before_anything_is_submitted(
    slurm_bench: Bench, override: str, stated: str
) -> None:
    (slurm_bench.path / "slurm.yaml").write_text(TWO_PARTITIONS)
    refused = slurm_bench.submit("--cluster", "slurm.yaml", override)
    assert refused.returncode == 2, refused.stdout
    assert stated in refused.stdout
    assert asked_of_slurm(slurm_bench) == {}
    assert not (slurm_bench.path / "pipelines").exists()
