"""What a plan says that the rungs of a sweep save."""

from __future__ import annotations

from pathlib import Path

import pytest

from slurm.graph.cluster import load_cluster
from slurm.plan.plan import Plan, describe_plan
from tests.slurm.studies import OVERRIDES, leave_run, plan

pytestmark = pytest.mark.usefixtures("study_folder")
RATES = [0.001, 0.002, 0.003, 0.004, 0.005, 0.006]


def planned() -> Plan:
    """Return the plan of six members of 1000 steps of 320 images, of which one process trains 50 a second."""
    leave_run("one")
    rungs = "pretrain.simmim.rungs=[0.1, 0.5]"
    more = ["pretrain.simmim.keep=0.33", f"pretrain.simmim.sweep={{training.schedule.base_lr: {RATES}}}", rungs]
    Path("mine.yaml").write_text("{executor: slurm, gpus_per_node: 1, time_limit: 3d}")
    cluster = load_cluster("mine.yaml")
    assert OVERRIDES[1] == "training.steps=1000"
    return plan(cluster, *more, "baseline=simmim-base_lr=0.001")


def test_a_plan_counts_each_part_and_states_the_hours_that_rungs_save() -> None:
    """A member takes 320,000 / 50 s, 1.78 h: six of them 10.7; with rungs 6 x 10 %, 2 x 40 % and 1 x 50 %, 3.4."""
    found = planned()
    images = {name.partition("0.003")[2]: one.images for name, one in found.forecasts.items() if "0.003" in name}
    assert images == {"@0.1": 32_000, "@0.5": 128_000, "": 160_000, ".seed0": None}
    (saved,) = found.saved
    hours = 320_000 / 50 / 3600
    assert saved.of_hours == pytest.approx(6 * hours)
    assert saved.device_hours == pytest.approx(6 * hours - (6 * 0.1 + 2 * 0.4 + 0.5) * hours)
    text = "\n".join(describe_plan(found))
    numbers = "6 members, 2 after 0.1, 1 after 0.5 of the training; 5 trainings of unknown cost not counted"
    assert f"the rungs of simmim save at least 7.3 of 10.7 GPU hours: {numbers}" in text
    assert "still to do: 10 trainings, 3.4 GPU hours" in text  # 6 + 2 + 1 parts, and the one transfer
    assert "warning: baseline simmim-base_lr=0.001: a rung may end" in text
