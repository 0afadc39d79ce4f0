"""The graph of a pipeline, drawn: what is in the picture, read back from it."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image

from benchmarks.errors import UserError
from slurm.plan.picture import boxes, draw, mermaid
from tests.slurm.studies import EIGHT_GPUS, leave_run, plan

pytestmark = pytest.mark.usefixtures("study_folder")


def test_the_seeds_of_a_stage_are_one_box_behind_what_they_need() -> None:
    leave_run("one")
    found = boxes(plan(EIGHT_GPUS, "seeds=[0, 1, 5]"))
    assert [box.lines for box in found] == [
        ("pretrain.simmim", "13m20s, 1.8 GPU h"),
        ("digits.simmim", "3 seeds"),
        ("report",),
    ]
    assert [(box.parents, box.column) for box in found] == [((), 0), ((0,), 1), ((1,), 2)]


def test_stages_that_differ_in_what_they_ask_for_show_it() -> None:
    found = boxes(plan(EIGHT_GPUS, "tasks.digits.resources={nodes: 1, gpus_per_node: 1}"))
    assert [box.lines[1] for box in found] == ["2 x 4 GPUs, 10m", "1 GPU, 10m", "1 process, 10m"]


def test_the_graph_is_a_flowchart() -> None:
    lines = [line.strip() for line in mermaid(plan(EIGHT_GPUS)).splitlines()]
    assert lines[0] == "flowchart LR"
    assert {'s0["pretrain.simmim"]', 's1["digits.simmim.seed0"]', 's2["report"]', "s0 --> s1", "s1 --> s2"} <= {*lines}


def test_a_drawing_has_every_box_and_arrow(tmp_path: Path) -> None:
    draw(plan(EIGHT_GPUS, "seeds=[0, 1, 5]"), tmp_path / "new" / "graph.svg")
    drawn = ElementTree.parse(tmp_path / "new" / "graph.svg").getroot()
    words = [element.text for element in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert {"pretrain.simmim", "digits.simmim", "3 seeds", "report"} <= {*words}
    groups = [element.get("id", "") for element in drawn.iter("{http://www.w3.org/2000/svg}g")]
    paper, stages, arrows = 1, 3, 2
    assert len([group for group in groups if re.fullmatch(r"patch_\d+", group)]) == paper + stages + arrows


def test_a_picture_is_of_a_kind_that_its_name_says(tmp_path: Path) -> None:
    draw(plan(EIGHT_GPUS), tmp_path / "graph.png")
    with Image.open(tmp_path / "graph.png") as image:
        assert image.format == "PNG"
    with pytest.raises(UserError, match=r"--picture = .*graph\.txt\n  rule:   a file that ends in \.svg, \.png, \.pdf"):
        draw(plan(EIGHT_GPUS), tmp_path / "graph.txt")
