"""What a plan predicts: arithmetic on what was measured, and a question mark for what nothing says."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.runs.folder import announce
from slurm.graph.cluster import LocalCluster
from slurm.graph.stages import Pipeline, Stage
from slurm.plan.cost import makespan_s
from slurm.plan.plan import describe_plan
from slurm.state.folder import PipelineFolder
from slurm.state.observe import saved_step
from tests.slurm.studies import EIGHT_GPUS, leave_run, plan

pytestmark = pytest.mark.usefixtures("study_folder")


def test_the_cost_is_images_by_speed_by_processes_and_attempts_by_the_time_limit() -> None:
    leave_run("one")
    found = plan(EIGHT_GPUS).forecasts["pretrain.simmim"]
    assert found.images == 320_000  # 1000 steps of 320
    assert found.seconds == pytest.approx(800.0)  # 320,000 images / (8 x 50 per second)
    assert found.device_hours == pytest.approx(8 * 800 / 3600)
    assert found.requeues == 1  # 800 s in attempts of at most 600 s less 120 s of notice
    assert found.memory_mb is None, "measured with 160 images per process, here 40"
    assert plan(LocalCluster(executor="local", processes_per_stage=2)).forecasts["pretrain.simmim"].memory_mb == 7000.0


def test_what_no_run_has_measured_is_shown_as_unknown() -> None:
    nothing = plan(EIGHT_GPUS)
    assert nothing.forecasts["pretrain.simmim"].seconds is None
    assert nothing.forecasts["digits.simmim.seed0"].images is None  # epochs of data that is not there
    text = "\n".join(describe_plan(nothing))
    assert "still to do: 2 trainings, whose cost is unknown" in text
    assert "? pretrain.simmim: nothing says which device it runs on" in text
    assert "? digits.simmim.seed0: nothing says how many images an epoch has" in text
    assert "remedy: state `device` in the cluster file" in text


@pytest.mark.parametrize("stated", [False, True], ids=["counted", "stated"])
def test_an_epoch_of_a_subset_is_its_share_of_the_images(stated: bool) -> None:
    """40 files: an epoch is 5 steps of 8 images; of half of them, it is 2."""
    folder = Path("data/unlabelled")
    folder.mkdir()
    for number in range(0 if stated else 40):
        (folder / f"{number}.png").touch()
    cluster = EIGHT_GPUS.model_copy(update={"training_images": {"data": 40} if stated else {}})
    change = "pretrain.simmim.overrides=[training.batch_size=8, training.epochs=9, {}]"
    found = [
        plan(cluster, change.format(subset)).forecasts["pretrain.simmim"].images
        for subset in ("data.subset=null", "data.subset.fraction=0.5", "data.subset.per_class=7")
    ]
    assert found == [9 * 5 * 8, 9 * 2 * 8, None]


@pytest.mark.parametrize("other", ["image_size_px=96", "training.precision=bf16", "encoder=swin_base_window6"])
def test_a_run_of_other_work_is_no_measure(other: str) -> None:
    leave_run("other", other)
    assert plan(EIGHT_GPUS).forecasts["pretrain.simmim"].speed is None


def test_a_run_that_differs_in_length_seed_or_mask_gives_the_speed() -> None:
    leave_run("other", "training.steps=7", "training.batch_size=64", "masking.mask_ratio=0.3")
    assert plan(EIGHT_GPUS).forecasts["pretrain.simmim"].seconds == pytest.approx(800.0)


def test_only_runs_on_the_device_that_the_cluster_names_are_asked_and_then_what_its_file_states() -> None:
    leave_run("one")
    elsewhere = EIGHT_GPUS.model_copy(update={"device": "A100"})
    assert plan(elsewhere).forecasts["pretrain.simmim"].speed is None
    assert plan(EIGHT_GPUS.model_copy(update={"device": "h100"})).forecasts["pretrain.simmim"].speed is not None
    stated = elsewhere.model_copy(update={"images_per_second": {"digits_simmim": 400.0}})
    found = plan(stated).forecasts["pretrain.simmim"]
    assert found.seconds == pytest.approx(100.0)
    assert "images/s stated in the cluster file" in "\n".join(describe_plan(plan(stated)))


def test_the_wall_time_is_the_longest_chain_or_what_the_places_allow() -> None:
    def stage(name: str, *needs: str) -> Stage:
        return Stage(name=name, argv=(), needs=needs, announces=True)

    graph = Pipeline(id="p", stages=(stage("a"), stage("b", "a"), stage("c"), stage("end", "b", "c")))
    lengths = {"a": 10.0, "b": 5.0, "c": 7.0}
    assert makespan_s(graph, lengths, places=float("inf")) == 15
    assert makespan_s(graph, lengths, places=1) == 22
    assert makespan_s(graph, {"a": 10.0}, places=1) == 10


def test_what_was_saved_between_two_log_lines_counts_as_progress() -> None:
    leave_run("one")  # 40 steps in its record, and no line of metrics
    folder = PipelineFolder(Path("pipelines/p"))
    announce(folder.announcement("a"), Path("runs/one"))
    assert saved_step(folder, Stage(name="a", argv=(), announces=True)) == 40
    assert saved_step(folder, Stage(name="b", argv=(), announces=True)) == 0
