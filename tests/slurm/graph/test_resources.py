"""What each stage asks Slurm for: how parts are laid over each other, what is refused, what a plan proposes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.errors import UserError
from slurm.graph.check import load_pipeline
from slurm.graph.cluster import SlurmCluster, load_cluster
from slurm.graph.pipeline import PipelineFile
from slurm.graph.placing import allocations, fitting_nodes
from slurm.graph.resources import Resources
from slurm.graph.stages import Stage
from slurm.launch.sbatch import preview
from slurm.launch.submit import previews
from slurm.plan.nodes import adviser
from slurm.plan.plan import describe_plan
from slurm.state.folder import PipelineFolder, Places
from tests.slurm.studies import STUDY, leave_run, plan

SITE = """
executor: slurm
partition: gpu
account: lab
nodes: 4
gpus_per_node: 8
memory: 500GB
time_limit: 72h
sbatch: {exclude: n7}
profiles:
  small: {nodes: 1, gpus_per_node: 4, time_limit: 12h}
  cpu: {partition: cpu, gpus_per_node: 0, memory: 4GB}
report: cpu
"""


def load(tmp_path: Path, text: str = SITE) -> SlurmCluster:
    (tmp_path / "site.yaml").write_text(text)
    found = load_cluster(str(tmp_path / "site.yaml"))
    assert isinstance(found, SlurmCluster)
    return found


def study(**resources: Any) -> dict[str, Any]:
    """Return the study whose entries have these resources: `pretrain`, `tasks`, `report`."""
    simmim: Any = STUDY["pretrain"]["simmim"]  # type: ignore[index]
    digits: Any = {**STUDY["tasks"]["digits"], "overrides": ["training.batch_size=320"]}  # type: ignore[index]
    pretrain = {"simmim": {**simmim, **({"resources": resources["pretrain"]} if "pretrain" in resources else {})}}
    tasks = {"digits": {**digits, **({"resources": resources["tasks"]} if "tasks" in resources else {})}}
    report = {"report": {"resources": resources["report"]}} if "report" in resources else {}
    return {**STUDY, "pretrain": pretrain, "tasks": tasks, **report}


def check(cluster: SlurmCluster, **resources: Any) -> PipelineFile:
    Path("study.yaml").write_text(yaml.safe_dump(study(**resources)))
    return load_pipeline(Path("study.yaml"), cluster=cluster)


def refusal(cluster: SlurmCluster, **resources: Any) -> str:
    with pytest.raises(UserError) as caught:
        check(cluster, **resources)
    return str(caught.value)


@pytest.mark.usefixtures("study_folder")
def test_a_stage_has_its_own_words_above_a_profile_above_the_cluster_file(tmp_path: Path) -> None:
    site = load(tmp_path)
    asked = {"profile": "small", "nodes": 2, "sbatch": {"nice": 5}}
    found = allocations(check(site, pretrain=asked, tasks="small"), site)
    pretraining, transfer, report = (found[name] for name in ("pretrain.simmim", "digits.simmim.seed0", "report"))
    assert (pretraining.nodes, pretraining.gpus_per_node, pretraining.time_limit) == (2, 4, "12h")
    assert pretraining.sbatch == {"exclude": "n7", "nice": 5}
    assert (pretraining.partition, pretraining.account, pretraining.memory) == ("gpu", "lab", "500GB")
    assert (transfer.nodes, transfer.ranks_per_stage) == (1, 4)
    assert report.summary() == "cpu: 1 process, 30m"
    assert report.memory == "4GB"


def test_a_report_takes_one_process_for_minutes_wherever_nothing_is_said(tmp_path: Path) -> None:
    site = load(tmp_path, "{executor: slurm, nodes: 4, gpus_per_node: 8, memory: 500GB, time_limit: 72h}")
    report = site.report_allocation(None)
    assert (report.nodes, report.gpus_per_node, report.time_limit_minutes, report.memory) == (1, 0, 30, "8GB")
    short = load(tmp_path, "{executor: slurm, memory: 200MB, time_limit: 10m}").report_allocation(None)
    assert (short.time_limit_minutes, short.memory) == (10, "200MB")


def test_the_cluster_file_that_is_kept_can_be_loaded_again(tmp_path: Path) -> None:
    site = load(tmp_path)
    assert load(tmp_path, site.to_yaml()) == site


@pytest.mark.usefixtures("study_folder")
def test_a_profile_with_gpus_undoes_the_processes_of_the_defaults() -> None:
    site = SlurmCluster(
        executor="slurm",
        time_limit="1h",
        gpus_per_node=0,
        processes_per_node=4,
        profiles={"big": Resources(gpus_per_node=8)},
    )
    big = allocations(check(site, pretrain="big"), site)["pretrain.simmim"]
    assert (big.gpus_per_node, big.ranks_per_stage) == (8, 8)


@pytest.mark.usefixtures("study_folder")
def test_where_and_when_a_stage_runs_is_no_part_of_an_id_or_of_a_command(tmp_path: Path) -> None:
    site = load(tmp_path)
    one = check(site)
    other = check(site, pretrain={"nodes": 8}, tasks="small", report={"nodes": 1, "time_limit": "5m"})
    assert one.id == other.id
    assert one.id == one.model_copy(update={"after": ("17",), "notify": "./tell.sh"}).id
    assert "resources" in other.to_yaml()
    commands = [previews(file, load_cluster("local"), Places()) for file in (one, other)]
    assert commands[0] == commands[1]


@pytest.mark.parametrize(
    ("batch", "accumulate", "per_node", "nodes"),
    [
        (16, 1, 8, [1, 2]),  # ADE20K on nodes of 8 GPUs
        (2048, 1, 8, [1, 2, 4, 8, 16, 32, 64, 128, 256]),  # a pretraining of SimMIM
        (48, 2, 4, [1, 2, 3, 6]),
        (16, 1, 3, []),
        (16, 4, 8, []),
    ],
)
def test_the_numbers_of_nodes_on_which_a_batch_has_equal_parts(
    batch: int, accumulate: int, per_node: int, nodes: list[int]
) -> None:
    assert fitting_nodes(batch, accumulate, per_node) == nodes
    every = [count for count in range(1, batch + 1) if batch % (count * per_node * accumulate) == 0]
    assert every == nodes


@pytest.mark.usefixtures("study_folder")
def test_a_batch_that_does_not_fit_is_refused_with_the_counts_that_do(tmp_path: Path) -> None:
    message = refusal(load(tmp_path), pretrain={"nodes": 3})  # 320 images in 24 parts
    assert "pretrain.simmim.resources.nodes = 3" in message
    assert "share training.batch_size = 320 evenly, each with 8 GPUs: 1, 2, 4, 5, 8, 10, 20, 40" in message
    assert "set pretrain.simmim.resources.nodes=2" in message
    message = refusal(load(tmp_path), pretrain={"gpus_per_node": 7})
    assert "pretrain.simmim.resources.gpus_per_node = 7" in message
    assert "evenly: 1, 2, 4, 5" in message


@pytest.mark.usefixtures("study_folder")
@pytest.mark.parametrize(
    ("where", "asked", "stated"),
    [
        ("pretrain", "smal", "pretrain.simmim.resources.profile = smal\n  rule:   one of the cluster file's profiles"),
        ("tasks", {"profile": "big"}, "tasks.digits.resources.profile = big"),
        ("report", "gpus", "report.resources.profile = gpus"),
        ("report", {"nodes": 2}, "a report is one process"),
        ("pretrain", {"sbatch": {"array": "0-3"}}, "sbatch.array = 0-3"),
        ("pretrain", {"sbatch": {"job_name": "mine"}}, "sbatch.job_name = mine"),
        ("pretrain", {"sbatch": {"outp": "/tmp/x"}}, "as it does --output"),
        ("pretrain", {"sbatch": {"nodes": 3}}, "instead: the field of the same name"),
        ("pretrain", {"sbatch": {"depend": "afterok:1"}}, "an option's full name"),
        ("pretrain", {"sbatch": {"dependency": "afterok:1?afterok:2"}}, "conditions joined by commas"),
        ("pretrain", {"time_limit": "2m"}, "longer than stop_notice_s (120 s) and the 20 s of a start"),
        ("pretrain", {"nods": 2}, "Did you mean nodes?"),
        ("pretrain", {"time_limit": 72}, "a time with its unit"),
        ("pretrain", 3, "pretrain.simmim.resources"),
    ],
)
def test_what_is_asked_for_wrongly_is_refused(tmp_path: Path, where: str, asked: Any, stated: str) -> None:
    message = refusal(load(tmp_path), **{where: asked})
    assert stated in message
    assert re.search(r"\n  rule:   .+\n  remedy: .+", message)


@pytest.mark.parametrize(
    ("text", "stated"),
    [
        ("time_limit: 1h, report: cpux, profiles: {cpu: {}}", "Did you mean cpu?"),
        ("time_limit: 1h, profiles: {cpu: {time_limit: 1m}}", "profiles.cpu: 1 mistake\ntime_limit = 1m"),
        ("time_limit: 1h, profiles: {cpu: {profile: other}}", "profiles.cpu.profile = other"),
        ("time_limit: 2m", "time_limit = 2m"),
        ("time_limit: 1h, sbatch: {job-name: x}", "sbatch.job-name = x"),
    ],
)
def test_a_mistake_in_a_cluster_file_is_named(tmp_path: Path, text: str, stated: str) -> None:
    with pytest.raises(UserError) as caught:
        load(tmp_path, f"{{executor: slurm, {text}}}")
    assert stated in str(caught.value)


def test_a_dependency_of_the_person_is_joined_to_the_graph_s(tmp_path: Path) -> None:
    site = load(tmp_path, "{executor: slurm, time_limit: 1h, sbatch: {dependency: 'afterok:17,singleton'}}")
    folder = PipelineFolder(tmp_path / "study-1")
    for needs, after, line in (
        (("a",), "success", "afterok:17,singleton,afterok:<a>"),
        (("a", "b"), "any", "afterok:17,singleton,afterany:<a>:<b>"),
        ((), "success", "afterok:17,singleton"),
    ):
        stage = Stage(name="c", argv=(), needs=needs, after=after, announces=True)  # type: ignore[arg-type]
        lines = preview(folder, site, [stage]).splitlines()
        stated = [found.replace("'", "") for found in lines if found.startswith("#SBATCH --dependency=")]
        assert stated == [f"#SBATCH --dependency={line}"]


@pytest.mark.usefixtures("study_folder")
def test_every_script_is_made_from_what_its_stage_asks_for(tmp_path: Path) -> None:
    site = load(tmp_path)
    scripts = previews(check(site, tasks="small"), site, Places())
    stated = [
        re.findall(r"^#SBATCH --(?:partition|nodes|gpus-per-node|time|mem)=(.*)$", text, re.M) for text in scripts
    ]
    assert [sorted(found) for found in stated] == [
        sorted(["gpu", "4", "8", "4320", "500GB"]),
        sorted(["gpu", "1", "4", "720", "500GB"]),
        sorted(["cpu", "1", "30", "4GB"]),
    ]


@pytest.mark.usefixtures("study_folder")
def test_the_plan_names_the_nodes_of_the_fewest_gpu_hours_that_runs_have_shown() -> None:
    leave_run("two", processes=2)  # 50 images per second with each, which has 160 of a batch
    leave_run("eight", processes=8)
    eight = SlurmCluster(executor="slurm", nodes=8, gpus_per_node=2, time_limit="1h")
    found = plan(eight)
    # 320,000 images / (50 per second of one GPU) = 6400 GPU seconds and the start of 2 GPUs on 1 node, of 16 on 8.
    # One node takes 3200 s; there is no requeue, for the attempt has 3480 s.
    proposed = found.proposals["pretrain.simmim"]
    assert proposed.nodes == 1
    assert proposed.device_hours == pytest.approx((6400 + 2 * 20) / 3600)
    assert proposed.now_hours == pytest.approx((6400 + 16 * 20) / 3600)
    assert "fewer GPU hours: pretrain.simmim.resources.nodes=1" in "\n".join(describe_plan(found))


@pytest.mark.usefixtures("study_folder")
def test_nodes_that_give_a_process_more_images_than_any_run_had_are_not_proposed() -> None:
    leave_run("eight", processes=8)  # 40 images of a batch each
    eight = SlurmCluster(executor="slurm", nodes=8, gpus_per_node=2, time_limit="1h")
    assert plan(eight).proposals["pretrain.simmim"].nodes == 4


@pytest.mark.usefixtures("study_folder")
@pytest.mark.parametrize(("processes", "remedy"), [(8, "=5\n"), (2, "=2; of these it takes the fewest GPU hours\n")])
def test_where_nodes_do_not_fit_the_remedy_is_what_runs_have_shown_or_the_nearest(processes: int, remedy: str) -> None:
    leave_run("measured", processes=processes)
    six = SlurmCluster(executor="slurm", nodes=6, gpus_per_node=1, time_limit="3h")
    with pytest.raises(UserError) as caught:
        load_pipeline(Path("study.yaml"), cluster=six, advise=adviser(six, Path("runs")))
    assert f"set pretrain.simmim.resources.nodes{remedy}" in f"{caught.value}\n"
