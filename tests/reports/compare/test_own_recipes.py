"""Random weights trained from scratch against pretrained ones, each by its own recipe: a difference with a mark."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.runs.record import RecipeUse, TaskUse
from reports.compare.like_for_like import compare
from reports.compare.two_sides import side_by_side
from reports.formats import rendered
from reports.leaderboard.board import Request, build
from reports.tables.comparison_text import to_text
from tests.reports import factory
from tests.reports.factory import THREE, row

PRETRAINED = ["self-supervised", "supervised", "fine-tuned"]


def recipe_for(starts_from: list[str] | None, name: str, epochs: int, **fields: Any) -> RecipeUse:
    resolved = {"starts_from": starts_from, "protocol": "finetune", "training": {"epochs": epochs}, **fields}
    placement = ("starts_from", "training.workers")
    digest = factory.sha(f"{name}{epochs}{fields}")
    return RecipeUse(name=name, overrides=(), digest=digest, resolved=resolved, placement=placement)


FINETUNE, SUPERVISED = recipe_for(PRETRAINED, "swin_finetune", 100), recipe_for(["random"], "swin_supervised", 300)


def test_random_weights_and_pretrained_ones_meet_each_by_its_own_recipe() -> None:
    simmim = row("simmim", {0: 84.0, 1: 84.5, 2: 84.25}, recipe=FINETUNE)
    scratch = row("scratch", {0: 83.0, 1: 83.25, 2: 83.5}, recipe=SUPERVISED)
    found = compare(simmim, [scratch], "top1")
    assert found.interval is not None
    # Student's t of two degrees of freedom: 4.3027 x 0.25 / sqrt(3)
    assert (found.delta, *found.interval[:2]) == pytest.approx((1.0, 0.37897, 1.62103), abs=1e-4)
    assert found.mark == (
        "other recipe than scratch: fine-tuned by swin_finetune, 100 epochs, "
        "scratch trained from scratch by swin_supervised, 300 epochs"
    )
    back = compare(scratch, [simmim], "top1")
    assert back.delta == -1.0
    assert back.mark.startswith(
        "other recipe than simmim: trained from scratch by swin_supervised, 300 epochs, simmim fine-"
    )


def test_a_baseline_of_the_same_recipe_comes_before_one_of_another() -> None:
    simmim, scratch = (row(label, {0: 80.0}, recipe=FINETUNE) for label in ("simmim", "scratch"))
    found = compare(simmim, [row("scratch", {0: 70.0}, recipe=SUPERVISED), scratch], "top1")
    assert (found.delta, found.mark) == (0.0, "")


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({"recipe": FINETUNE}, {"recipe": recipe_for(PRETRAINED, "other", 300)}),  # scratch by a fine-tuning recipe
        ({"recipe": FINETUNE}, {"recipe": recipe_for(None, "any", 300)}),  # a recipe that does not say for whom it is
        ({"recipe": SUPERVISED}, {"recipe": recipe_for(["random"], "longer", 400)}),  # simmim by one for random weights
        ({"recipe": FINETUNE}, {"recipe": recipe_for(["random", "self-supervised"], "both", 300)}),  # could be shared
        ({"recipe": FINETUNE}, {"recipe": SUPERVISED, "image_size_px": 192}),
        ({"recipe": FINETUNE}, {"recipe": SUPERVISED, "data": factory.data("9 images")}),
        ({"recipe": FINETUNE}, {"recipe": SUPERVISED, "task": factory.TaskUse(name="digits", version=2)}),
        ({"recipe": FINETUNE}, {"recipe": recipe_for(["random"], "s", 300, interpolation="bilinear")}),
        ({"recipe": FINETUNE}, {"recipe": recipe_for(["random"], "s", 300, data={"mean": [0, 0, 0]})}),
        ({"recipe": recipe_for(PRETRAINED, "probe", 100, protocol="linear")}, {"recipe": SUPERVISED}),
        ({"recipe": recipe_for(PRETRAINED, "adapted", 100, adapters={"rank": 8})}, {"recipe": SUPERVISED}),
    ],
)
def test_rows_of_unlike_recipes_are_otherwise_in_no_difference(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    found = compare(row("simmim", THREE, **ours), [row("scratch", THREE, **theirs)], "top1")
    assert (found.delta, found.mark) == (None, "")
    assert "other " in found.note


def test_two_pretrained_encoders_are_never_compared_by_unlike_recipes() -> None:
    from_22k = row("supervised", THREE, recipe=recipe_for(["supervised"], "from_22k", 30))
    assert (
        compare(row("simmim", THREE, recipe=recipe_for(["self-supervised"], "ssl", 100)), [from_22k], "top1").delta
        is None
    )


MARK = (
    "other recipe than scratch: fine-tuned by swin_finetune, 100 epochs, "
    "scratch trained from scratch by swin_supervised, 300 epochs"
)


def write_study(runs: Path) -> str:
    """SimMIM and random weights on one task by their own recipes, and what the latter became on another task."""
    for seed, (simmim, scratch) in enumerate([(84.0, 83.0), (84.5, 83.25), (84.25, 83.5)]):
        made = {"exported_sha256": factory.sha(f"supervised {seed}")}
        factory.write(runs, factory.transfer("simmim", seed, simmim, recipe=FINETUNE))
        factory.write(runs, factory.transfer("scratch", seed, scratch, recipe=SUPERVISED, **made))
    use = factory.encoder("supervised", sha256=factory.sha("supervised 0"))
    motion = TaskUse(name="digit_motion", version=1)
    factory.write(runs, factory.transfer(encoder=use, top1=60.0, task=motion, recipe=FINETUNE))
    return str(runs)


@pytest.mark.parametrize("baseline", ["scratch", "supervised"])
def test_the_comparison_of_a_study_is_shown(tmp_path: Path, baseline: str) -> None:
    """The baseline `supervised` has no row on the task that it was trained on: the row that made it stands for it."""
    board = build(factory.collected(write_study(tmp_path)), Request((str(tmp_path),), baseline))
    found = {(each["task"], each["encoder"]): each for each in json.loads(rendered(board, "json"))["rows"]}
    simmim, scratch = found["digits", "simmim"], found["digits", "scratch"]
    assert (simmim["top1_delta"], simmim["top1_delta_low"], simmim["top1_delta_high"]) == (1.0, 0.38, 1.62)
    assert simmim["mark"] == MARK
    assert scratch["delta_note"] == "baseline"
    stands = "the training that made supervised, for which it stands here"
    assert (scratch["mark"] or "") == (stands if baseline == "supervised" else "")
    assert "Neither recipe suits the other's start" in rendered(board, "txt").decode()


def test_two_sides_show_it_too(tmp_path: Path) -> None:
    text = to_text(side_by_side("simmim", "scratch", [write_study(tmp_path)]))
    assert f" {MARK} " in " ".join(text.split())
    assert "  not comparable:" not in text
    assert "+1.00 [+0.38, +1.62]" in text
