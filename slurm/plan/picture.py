"""The graph of a pipeline as a drawing and as a Mermaid flowchart. The seeds of a stage are one box."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.errors import UserError
from benchmarks.files.atomic import make_folder, write_atomically
from slurm.graph.stages import Stage, arrays
from slurm.plan.plan import Plan, format_hours
from slurm.terminal import clock

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FORMATS = (".svg", ".png", ".pdf")
TEXT_PT = 8.0
LETTER_IN = 0.61 * TEXT_PT / 72
"""How wide a letter of DejaVu Sans Mono is, in inches."""
LINE_IN = 1.5 * TEXT_PT / 72
GAP_IN, MARGIN_IN = 0.18, 0.25
ARROWS_IN = 0.8
"""The space between two columns."""
DONE, TO_DO, INK, ARROW = "#cfe8cf", "#ffffff", "#222222", "#999999"


@dataclass(frozen=True)
class Box:
    """One stage, or those that differ only in the seed."""

    lines: tuple[str, ...]
    is_done: bool
    parents: tuple[int, ...]
    """The parents' places in the list of boxes."""
    column: int

    @property
    def width_in(self) -> float:
        return (max(map(len, self.lines)) + 2) * LETTER_IN

    @property
    def height_in(self) -> float:
        return (len(self.lines) + 0.8) * LINE_IN


def boxes(plan: Plan) -> list[Box]:
    """Return the boxes of a plan, each after its parents."""
    groups = list(arrays(plan.pipeline.stages))
    number = {stage.name: at for at, stages in enumerate(groups) for stage in stages}
    parents = [tuple(dict.fromkeys(number[parent] for parent in stages[0].needs)) for stages in groups]
    columns = _columns(parents)
    return [
        Box(tuple(_words(plan, stages)), all(stage.name in plan.done for stage in stages), parents[at], columns[at])
        for at, stages in enumerate(groups)
    ]


def _columns(parents: Sequence[tuple[int, ...]]) -> list[int]:
    """Return each box's column, as near to its children as possible, so that few arrows pass other boxes."""
    to_the_end = [0] * len(parents)
    for at in reversed(range(len(parents))):
        for parent in parents[at]:
            to_the_end[parent] = max(to_the_end[parent], to_the_end[at] + 1)
    return [max(to_the_end) - left for left in to_the_end]


def _words(plan: Plan, stages: Sequence[Stage]) -> list[str]:
    """Return the lines of a box: name, seeds, resources where stages differ, what is done, what the rest takes."""
    first, rest = stages[0], [stage for stage in stages if stage.name not in plan.done]
    lines = [first.name] if len(stages) == 1 else [first.seeds_of or first.name, f"{len(stages)} seeds"]
    if len({plan.resources[stage.name] for stage in plan.pipeline.stages if stage.trains}) > 1:
        lines.append(plan.resources[first.name])
    if len(rest) < len(stages):
        lines.append("done" if not rest else f"{len(stages) - len(rest)} done")
    costs = [plan.forecasts[stage.name] for stage in rest if stage.name in plan.forecasts]
    seconds = [cost.seconds for cost in costs if cost.seconds is not None]
    hours = [cost.device_hours for cost in costs if cost.device_hours is not None]
    if costs and len(seconds) == len(costs):
        unit = "GPU h" if costs[0].has_gpus else "process h"
        lines.append(f"{clock(max(seconds))}, {format_hours(sum(hours))} {unit}")
    return lines


def mermaid(plan: Plan) -> str:
    """Return the graph as a Mermaid flowchart, which GitHub, GitLab and many editors draw."""
    lines = ["flowchart LR"]
    for number, box in enumerate(boxes(plan)):
        lines.append(f'  s{number}["{"<br>".join(box.lines)}"]{":::done" if box.is_done else ""}')
        lines += [f"  s{parent} --> s{number}" for parent in box.parents]
    return "\n".join([*lines, f"  classDef done fill:{DONE}"])


def draw(plan: Plan, path: Path) -> None:
    """Draw the graph into a file, what is done in green. Raises UserError for an ending that is not in FORMATS."""
    if path.suffix not in FORMATS:
        rule = f"a file that ends in {', '.join(FORMATS)}"
        raise UserError.about("--picture", str(path), rule, f"--picture {path.stem}.svg")
    import matplotlib
    from matplotlib.figure import Figure

    found = boxes(plan)
    places, width, height = _arranged(found)
    figure = Figure((width, height))
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(0, height))
    axes.set_axis_off()
    for box, place in zip(found, places, strict=True):
        _draw_box(axes, box, place)
        for parent in box.parents:
            _draw_arrow(axes, places[parent], place)
    data = io.BytesIO()
    with matplotlib.rc_context({"svg.fonttype": "none"}):  # text stays text, not outlines
        figure.savefig(data, format=path.suffix[1:], dpi=150)
    make_folder(path.parent)
    write_atomically(path, data.getvalue())


@dataclass(frozen=True)
class Place:
    """Where a box stands, in inches from the lower left corner: its left edge, its middle, its width."""

    left: float
    middle: float
    width: float


def _arranged(found: Sequence[Box]) -> tuple[list[Place], float, float]:
    """Return the places of boxes, in columns that are centred, and the width and height of the whole in inches."""
    columns = [[box for box in found if box.column == at] for at in range(1 + max(box.column for box in found))]
    widths = [max(box.width_in for box in column) for column in columns]
    heights = [sum(box.height_in for box in column) + GAP_IN * (len(column) - 1) for column in columns]
    lefts = [MARGIN_IN + sum(widths[:at]) + ARROWS_IN * at for at in range(len(columns))]
    tops = [MARGIN_IN + (max(heights) + height) / 2 for height in heights]
    places = []
    for box in found:
        at = box.column
        places.append(Place(lefts[at], tops[at] - box.height_in / 2, widths[at]))
        tops[at] -= box.height_in + GAP_IN
    return places, lefts[-1] + widths[-1] + MARGIN_IN, max(heights) + 2 * MARGIN_IN


def _draw_box(axes: Axes, box: Box, place: Place) -> None:
    from matplotlib.patches import FancyBboxPatch

    corner = place.left, place.middle - box.height_in / 2
    look: dict[str, Any] = {"facecolor": DONE if box.is_done else TO_DO, "edgecolor": INK, "linewidth": 0.8}
    style = "round,pad=0,rounding_size=0.05"
    axes.add_patch(FancyBboxPatch(corner, place.width, box.height_in, boxstyle=style, **look))
    text = "\n".join(box.lines)
    font: dict[str, Any] = {"family": "monospace", "size": TEXT_PT, "linespacing": 1.25}
    axes.text(place.left + LETTER_IN, place.middle, text, va="center", color=INK, parse_math=False, **font)


def _draw_arrow(axes: Axes, parent: Place, child: Place) -> None:
    from matplotlib.patches import FancyArrowPatch
    from matplotlib.path import Path as Curve

    start, end = (parent.left + parent.width, parent.middle), (child.left, child.middle)
    half = (end[0] - start[0]) / 2
    points = [start, (start[0] + half, start[1]), (end[0] - half, end[1]), end]
    curve = Curve(points, [Curve.MOVETO, *[Curve.CURVE4] * 3])
    axes.add_patch(
        FancyArrowPatch(path=curve, arrowstyle="-|>", mutation_scale=7, color=ARROW, linewidth=0.8, zorder=0)
    )
