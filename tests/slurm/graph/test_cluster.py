"""Cluster files: what a time limit means, and what is asked of Slurm."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest

from benchmarks.errors import UserError
from slurm.graph.cluster import LocalCluster, SlurmCluster, load_cluster
from slurm.graph.resources import parse_time_limit
from slurm.graph.stages import Stage
from slurm.launch.sbatch import preview
from slurm.state.folder import PipelineFolder


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("90m", 90),
        ("72h", 4320),
        ("3d", 4320),
        ("1d12h", 2160),
        ("3-00:00:00", 4320),
        ("72:00:00", 4320),
        ("00:00:30", 1),
        ("1-02:03:04", 1564),  # 1440 + 120 + 3 and 4 seconds, rounded up
    ],
)
def test_a_time_limit_means_what_people_read_in_it(text: str, minutes: int) -> None:
    assert parse_time_limit(text) == minutes


@pytest.mark.parametrize("text", ["72", "4320", "10:00", "72 h", "h", "", "1.5h", "0h", "3-00"])
def test_a_time_limit_that_could_be_misread_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"with its unit|a time above zero"):
        parse_time_limit(text)


def write(folder: Path, text: str) -> str:
    path = folder / "cluster.yaml"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("limit", ["72", "3600.5", "null"])
def test_a_bare_number_in_the_file_is_refused_with_the_forms_that_are_known(tmp_path: Path, limit: str) -> None:
    with pytest.raises(UserError, match="a time with its unit: 72h") as caught:
        load_cluster(write(tmp_path, f"{{executor: slurm, time_limit: {limit}}}"))
    assert "time_limit = " in str(caught.value)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("{executor: slrum, time_limit: 1h}", "Did you mean slurm?"),
        ("{time_limit: 1h}", "executor = (not given)"),
        ("{executor: slurm}", "time_limit = (not given)"),
        ("{executor: slurm, time_limit: 1h, partiton: gpu}", "Did you mean partition?"),
        ("{executor: slurm, time_limit: 1h, memory: 64}", "a size with its unit: 64GB"),
        ("{executor: local, cpus_per_stage: 0}", "greater than or equal to 1"),
        ("{executor: local, gpus: [0, 1], gpus_per_stage: 3}", "at most the number of `gpus`, 2"),
        ("{executor: local, gpus: [0], processes_per_stage: 2}", "one process per GPU"),
        ("{executor: slurm, time_limit: 1h, container_mounts: ['/a:/a']}", "only with `container`"),
        ("{executor: slurm, time_limit: 1h, container_runtime: apptainer}", "left out where there is no `container`"),
        ("{executor: slurm, time_limit: 1h, container: a.sif, container_runtime: aptainer}", "'apptainer'"),
        (
            "{executor: slurm, time_limit: 1h, container: a.sif, container_runtime: apptainer, container_mounts: [/a]}",
            "container_mounts = /a\n  rule:   absolute folders",
        ),
        ("{executor: slurm, time_limit: 1h, processes_per_node: 2}", "only with `gpus_per_node: 0`"),
    ],
)
def test_a_mistake_in_a_cluster_file_is_reported(tmp_path: Path, text: str, rule: str) -> None:
    with pytest.raises(UserError) as caught:
        load_cluster(write(tmp_path, text))
    assert rule in str(caught.value)


def test_an_unknown_cluster_gets_the_nearest_name() -> None:
    with pytest.raises(UserError, match=r"Did you mean local\?"):
        load_cluster("locl")


def test_the_clusters_that_come_with_the_program_are_valid() -> None:
    assert isinstance(load_cluster("local"), LocalCluster)
    assert isinstance(load_cluster("slurm"), SlurmCluster)


def test_a_stage_has_a_gpu_to_itself_where_gpus_are_named() -> None:
    assert LocalCluster(executor="local", gpus=(0, 1, 3)).places == 3
    assert LocalCluster(executor="local", gpus=(0, 1, 3), stages_at_once=2).places == 2
    assert LocalCluster(executor="local", gpus=(0,), stages_at_once=2).places == 1
    assert LocalCluster(executor="local", cpus_per_stage=10**6).places == 1


def test_a_stage_has_one_process_for_each_of_its_gpus_or_as_many_as_are_named() -> None:
    pair = LocalCluster(executor="local", gpus=(0, 1, 2, 3, 4), gpus_per_stage=2)
    assert (pair.places, pair.ranks_per_stage) == (2, 2)
    assert LocalCluster(executor="local", processes_per_stage=3).ranks_per_stage == 3
    assert SlurmCluster(executor="slurm", time_limit="1h", nodes=4, gpus_per_node=8).ranks_per_stage == 32
    on_cpus = SlurmCluster(executor="slurm", time_limit="1h", nodes=2, gpus_per_node=0, processes_per_node=3)
    assert on_cpus.ranks_per_stage == 6


def test_the_sbatch_script_asks_for_what_the_file_says(tmp_path: Path) -> None:
    cluster = SlurmCluster(
        executor="slurm",
        partition="gpu",
        account="lab",
        qos="long",
        constraint="a100|h100",
        nodes=4,
        gpus_per_node=2,
        cpus_per_process=12,
        memory="64GB",
        time_limit="72h",
        setup=("module load cuda",),
        sbatch={"exclude": "n7"},
    )
    folder = PipelineFolder(tmp_path / "study-1")
    stage = Stage(name="digits.a.seed0", argv=("transfer",), needs=("pretrain.a",), announces=True)
    lines = preview(folder, cluster, [stage]).splitlines()
    for option in (
        *("partition=gpu", "account=lab", "qos=long", "constraint='a100|h100'", "gpus-per-node=2", "mem=64GB"),
        *("nodes=4", "cpus-per-task=24", "time=4320", "exclude=n7", "ntasks-per-node=1", "signal=USR2@120"),
        *("job-name=study-1/digits.a.seed0", "dependency='afterok:<pretrain.a>'", "kill-on-invalid-dep=yes"),
    ):
        assert f"#SBATCH --{option}" in lines
    (srun,) = (line for line in lines if line.startswith("srun "))
    assert "--cpus-per-task=24" in srun
    assert "--kill-on-bad-exit=1" in srun
    assert lines.index("module load cuda") < lines.index(srun)
    report = Stage(name="report", argv=("report",), needs=("a", "b"), after="any")
    lines = preview(folder, cluster.report_allocation(None), [report]).splitlines()
    assert "#SBATCH --dependency='afterany:<a>:<b>'" in lines
    assert "#SBATCH --nodes=1" in lines
    assert "#SBATCH --cpus-per-task=12" in lines
    assert not any("gpus" in line for line in lines)


@pytest.mark.parametrize("runtime", ["apptainer", "singularity"])
@pytest.mark.parametrize("gpus", [0, 4])
def test_apptainer_opens_the_image_around_the_interpreter(tmp_path: Path, runtime: str, gpus: int) -> None:
    """The options are those of the user guide of `apptainer exec`: --nv for NVIDIA, --bind with a list."""
    site = tmp_path / "site.yaml"
    site.write_text(
        f"{{executor: slurm, time_limit: 1h, gpus_per_node: {gpus}, container: '/images/torch 2.sif', python: python3, "
        f"container_runtime: {runtime}, container_mounts: ['/data:/data:ro', '/home/me:/home/me']}}"
    )
    cluster = load_cluster(str(site))
    assert isinstance(cluster, SlurmCluster)
    stage = Stage(name="a", argv=(), announces=True)
    lines = preview(PipelineFolder(tmp_path / "study-1"), cluster, [stage]).splitlines()
    (srun,) = (shlex.split(line) for line in lines if line.startswith("srun "))
    assert not [word for word in srun if word.startswith("--container")]
    begins, ends = srun.index(runtime), srun.index("slurm.stage.job")
    assert srun[begins:ends] == [
        *[runtime, "exec", *(["--nv"] if gpus else []), "--bind", "/data:/data:ro,/home/me:/home/me"],
        *["/images/torch 2.sif", "python3", "-u", "-m"],
    ]
    assert lines[-1].startswith(f"exec {sys.executable} -m slurm.stage.requeue")  # outside: there is Slurm


def test_a_container_and_its_interpreter_run_the_stage(tmp_path: Path) -> None:
    cluster = SlurmCluster(
        executor="slurm",
        time_limit="1h",
        container="/images/torch.sqsh",
        container_mounts=("/data:/data", "/home/me:/home/me"),
        python="/usr/bin/python3",
    )
    lines = preview(
        PipelineFolder(tmp_path / "study-1"), cluster, [Stage(name="a", argv=(), announces=True)]
    ).splitlines()
    (srun,) = (line for line in lines if line.startswith("srun "))
    assert " --container-image=/images/torch.sqsh --container-mounts=/data:/data,/home/me:/home/me " in srun
    assert " /usr/bin/python3 -u -m slurm.stage.job " in srun
    assert lines[-1].startswith(f"exec {sys.executable} -m slurm.stage.requeue")  # outside: there is Slurm
    code = next(line for line in lines if line.startswith("export PYTHONPATH="))
    assert f"{tmp_path}/study-1/code/" in code
