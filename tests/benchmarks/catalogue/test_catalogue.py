"""`mimbench list`, as typed."""

from __future__ import annotations

from pathlib import Path

import pytest

import mimbench as program
from benchmarks.catalogue.listing import describe
from benchmarks.catalogue.published import load_references
from benchmarks.catalogue.tasks import TASKS
from benchmarks.config import RECIPES
from benchmarks.runs.stages import OWN_DATA
from benchmarks.text.tables import aligned
from tests.support.command import here, mimbench


def rows(*arguments: str) -> list[str]:
    done = here("list", *arguments)
    assert done.returncode == 0
    assert done.stderr == ""
    return done.stdout.splitlines()[3:]  # below the heading, an empty line and the columns' names


def test_columns_start_at_the_same_place() -> None:
    assert aligned([("a", "bb", "c"), ("aaa", "", "cc")]) == "a    bb  c\naaa      cc"


def test_without_a_name_it_is_said_what_can_be_listed() -> None:
    done = here("list")
    assert done.returncode == 0
    lines = [line.split()[0] for line in done.stdout.partition("lists:\n")[2].partition("\n\n")[0].splitlines()]
    expected = ["tasks", "recipes", "protocols", "encoders", "checkpoints", "formats", "pipelines", "plugins"]
    assert lines == [*expected, "references"]


def test_tasks_are_listed_with_their_score_and_recipe() -> None:
    found = {line.split()[0]: line for line in rows("tasks")}
    assert found.keys() == TASKS.keys()
    assert "top1 %" in found["imagenet1k"]
    assert "digits_finetune" in found["digits"]


def test_data_of_the_tasks_on_the_users_own_data_are_called_by_their_folder() -> None:
    assert set(OWN_DATA) == {task.name for task in TASKS.values() if task.source == "the user's own data"}


def test_every_default_recipe_exists() -> None:
    names = {path.stem for path in (RECIPES / "transfer").glob("*.yaml")}
    assert {task.recipe for task in TASKS.values()} <= names


@pytest.mark.parametrize("verb", ["pretrain", "transfer"])
def test_recipes_are_listed_by_verb_and_each_says_what_it_is(verb: str) -> None:
    listed = [line.split(maxsplit=2) for line in rows("recipes") if line.startswith(verb)]
    assert [name for _, name, *_ in listed] == sorted(path.stem for path in (RECIPES / verb).glob("*.yaml"))
    assert all(len(line) == 3 for line in listed)


def test_encoders_are_listed_with_their_timm_model() -> None:
    found = {line.split()[0]: line.split()[1] for line in rows("encoders")}
    assert found["swin_base_window6"] == "swin_base_patch4_window7_224"


def test_piped_lines_are_neither_cut_off_nor_wrapped() -> None:
    [line] = [line for line in mimbench("list", "references").stdout.splitlines() if "Swin_B_Weights" in line]
    assert len(line) > 80
    assert line.split()[:4] == ["imagenet1k", "finetune", "supervised", "Swin-B"]
    assert line.endswith("(Swin_B_Weights.IMAGENET1K_V1, acc@1)")


def test_unverified_references_are_shown_only_on_request() -> None:
    hidden = here("list", "references").stdout
    shown = here("list", "references", "--unverified").stdout
    assert not [
        line for line in hidden.splitlines() if line.split()[1:4] == ["finetune", "mocov3", "ViT-B"] and "%" in line
    ]
    assert " no " not in "\n".join(rows("references"))
    unread = sum(not each.verified for each in load_references())
    assert hidden.endswith(f"{unread} more were not read in their source: add --unverified.\n")
    unverified = [line.split() for line in shown.splitlines() if line.split()[1:4] == ["finetune", "mocov3", "ViT-B"]]
    assert [line[line.index("%") + 1] for line in unverified if "%" in line] == ["no"]


def test_one_task_alone() -> None:
    assert [line.split()[0] for line in rows("tasks", "--task", "digits")] == ["digits"]
    assert rows("references", "--task", "digits") == []
    for task in ("imagenet1k", "coco", "ade20k", "kinetics400"):
        assert {line.split()[0] for line in rows("references", "--task", task) if "%" in line} == {task}


@pytest.mark.parametrize(
    ("arguments", "lines"),
    [
        (["taks"], ["error: list = taks", "  rule:   one of the lists", "  remedy: Did you mean tasks?"]),
        (["references", "--task", "digit"], ["error: task = digit", "  rule: ", "  remedy: Did you mean digits?"]),
        (
            ["recipes", "--unverified"],
            ["error: --unverified = ", "  rule:   for references, not for recipes", "  remedy: "],
        ),
        (
            ["formats", "--unverified"],
            ["error: --unverified = ", "  rule:   for references, not for formats", "  remedy: "],
        ),
        (["recipes", "--task", "digits"], ["error: --task = digits", "  rule: ", "  remedy: leave it out"]),
    ],
)
def test_wrong_request_gets_four_parts(arguments: list[str], lines: list[str]) -> None:
    done = here("list", *arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 3
    for found, expected in zip(done.stderr.splitlines(), lines, strict=True):
        assert found.startswith(expected)


def test_description_is_the_leading_comment_on_one_line(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("# Swin-B, 100 epochs;\n#   then more.\nepochs: 100  # not this\n# nor this\n")
    assert describe(path) == "Swin-B, 100 epochs; then more."


def test_a_task_without_published_numbers_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main(["list", "references", "--task", "digits"]) == 0
    assert capsys.readouterr().out.endswith("\n\nnone is known\n")


@pytest.mark.parametrize(("verb", "action"), [("report", "leaderboard"), ("checkpoint", "inspect"), ("data", "pack")])
def test_a_verb_alone_says_what_it_can_do(capsys: pytest.CaptureFixture[str], verb: str, action: str) -> None:
    assert program.main([verb]) == program.WRONG
    shown = capsys.readouterr()
    assert action in shown.out
    assert shown.err == ""
