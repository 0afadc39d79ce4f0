"""What version 130fcfa wrote is read, gone on with and reported by this one.

`before/` holds what that version left behind on the embedded digits, with an encoder of ten thousand parameters; it was
written by the program itself, as `before.py` says, and is not to be made again by a later one.

asked/       what a person writes: an encoder, a pipeline, where it runs
finished/    runs of every kind: a pretraining with its encoders, transfers without their weights
unfinished/  runs that SIGTERM stopped in their middle, with their checkpoints
continued/   what that version made of these, and of the pipeline, when it went on
launched/    a pipeline of which one stage was stopped, and which uses the runs above
older/       records of the schema versions 1 and 2, written by the last versions that wrote such
printed/     what that version printed about all of it

The fingerprints of the data and the ids of the runs must come out as they did then: the ids below are literals.
"""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import mimbench
from tests.golden.kept import (
    KEPT,
    OLDER,
    PIPELINE,
    PRETRAINED,
    Answer,
    carry_out,
    computed,
    known_then,
    lay,
    processor,
    record_of,
)
from tests.support.command import ROOT
from tests.support.command import mimbench as command
from tests.support.libraries import library
from tests.support.runs import TIMINGS

KNN = "digits-digits_knn-867b356e0cdd"
FINISHED = (
    PRETRAINED,
    KNN,
    "digits-digits_knn-67768f4adb23",
    "digits-digits_linear-b9a2c5c954a8",
    "digits-digits_attentive-7a9296869fe3",
    "digits-digits_finetune-4de1a33682c0",
    "digits-digits_finetune-4e5be3e38849",
    "digits-digits_finetune-7b29eb7683a4",
    "digit_scenes-digit_scenes_finetune-4cd3ccdc10ff",
    "digit_boxes-digit_boxes_finetune-2eb21e9c29d6",
    "digit_motion-digit_motion_finetune-29633939c53d",
)
CHANGED_SINCE = {"digits-digits_attentive-7a9296869fe3": ["pooler=timm"]}
"""What named recipes said at that time where they say something else now: the probe's pooler is V-JEPA's since."""
IN_PIPELINE = "digits-digits_finetune-2cc8a4233570"
"""The run of the stage `digits.early.seed0`, which was stopped."""
UNFINISHED = (
    "pretrain-digits_simmim-9cda6a44003d",
    IN_PIPELINE,
    "digit_scenes-digit_scenes_finetune-aaa961882838",
    "digit_boxes-digit_boxes_finetune-860075824c92",
    "digit_motion-digit_motion_finetune-1b603b6c3172",
)
LIBRARIES = {
    "digit_scenes": ("mmseg", "onedl-mmsegmentation"),
    "digit_boxes": ("pycocotools", "pycocotools"),
    "digit_motion": ("pytorchvideo", "pytorchvideo"),
}
SCORES = ("_mean", "_std", "_n", "_delta", "_low", "_high", "encoder_sha256", "run_ids")


@dataclass(frozen=True)
class Desk:
    """A folder with all that is kept, in which this version was given the commands of that time again."""

    folder: Path
    answers: dict[str, Answer]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """Everything in one process, whose arithmetic is that of the kept runs; torch is imported once."""
    folder = tmp_path_factory.mktemp("before")
    lay(folder)
    commands = {"again": [*command_of(folder / "runs" / KNN), "--runs", "again"]}  # which also writes the digits
    commands |= {run: command_of(folder / "runs" / run) for run in (*FINISHED, *UNFINISHED)}
    commands |= {run: [*command_of(folder / "older" / run), "--runs", "older"] for run in OLDER.values()}
    return Desk(folder, carry_out(commands, folder, ROOT))


def loaded(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record's load report; that version told tensors in the order in which the file was read, any order."""
    report = record["load_report"] or {}
    return {name: sorted(map(str, value)) if isinstance(value, list) else value for name, value in report.items()}


def command_of(run: Path) -> list[str]:
    """Return the arguments of `mimbench` that made a run, with the recipe that was the task's default at that time.

    They are a person's: a pipeline, which asks for an announcement, trains an encoder again that is gone, as the kept
    runs' are, with their checkpoints.
    """
    record = record_of(run)
    arguments: list[str] = [*record["command"][1:], *CHANGED_SINCE.get(run.name, ())]
    if "--announce" in arguments:
        at = arguments.index("--announce")
        arguments = arguments[:at] + arguments[at + 2 :]
    named = arguments[0] == "pretrain" or "--recipe" in arguments
    return arguments if named else [*arguments, "--recipe", record["recipe"]["name"]]


def lines_of(run: Path) -> list[dict[str, Any]]:
    """Return metrics.jsonl without the fields that tell time."""
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [{name: value for name, value in line.items() if name not in TIMINGS} for line in lines]


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def need(run: str) -> None:
    """Skip where the library that a task's engine stands on is not installed."""
    if run.partition("-")[0] in LIBRARIES:
        library(*LIBRARIES[run.partition("-")[0]])


def same_arithmetic(run: Path, kept: Path) -> bool:
    """Tell whether two runs were computed by equal packages on an equal processor, and so to the same bits."""
    packages = [record_of(folder)["environment"]["packages"] for folder in (run, kept)]
    return packages[0] == packages[1] and processor() == (KEPT / "processor.txt").read_text().strip()


def assert_same_numbers(run: Path, kept: Path, step: int) -> None:
    """What a run computed is what the earlier version computed: to the bit, with equal packages on an equal processor.

    Another version of a library, or another kind of processor, may round differently. Then the losses after `step` are
    compared, to a relative 1e-4. With other vector instructions they differed by 1e-7, those of the detector by 5e-3:
    one that has hardly begun to learn then picks other proposals.
    """
    found, told = record_of(run), record_of(kept)
    assert known_then(loaded(found), loaded(told)) == loaded(told)
    for name in ("run_id", "status", "steps", "attempts", "parents"):
        assert found[name] == told[name], name
    assert known_then(found["data"], told["data"]) == told["data"]
    assert [line.keys() for line in lines_of(run)] == [line.keys() for line in lines_of(kept)]
    if same_arithmetic(run, kept):
        assert lines_of(run) == lines_of(kept)
        assert computed(run) == json.loads((kept / "computed.json").read_text())
        for name in ("metrics", "exported_sha256", "flops_per_image"):
            assert found[name] == told[name], name
    later = [(line, other) for line, other in zip(lines_of(run), lines_of(kept), strict=True) if line["step"] > step]
    losses = [(line["loss"], other["loss"]) for line, other in later if "loss" in line]
    assert losses
    for loss, other in losses:
        assert loss == pytest.approx(other, rel=2e-2 if run.name.startswith("digit_boxes") else 1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("run", FINISHED)
def test_finished_work_is_not_done_again(desk: Desk, run: str) -> None:
    need(run)
    answer = desk.answers[run]
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.startswith(f"already done: runs/{run} (")
    assert files_below(desk.folder / "runs" / run) == files_below(KEPT / "finished" / run)


@pytest.mark.slow
def test_a_kept_encoder_is_measured_again(desk: Desk) -> None:
    assert desk.answers["again"].code == 0, desk.answers["again"].err
    assert [path.name for path in (desk.folder / "again").iterdir()] == [KNN]
    again, kept = desk.folder / "again" / KNN, KEPT / "finished" / KNN
    assert known_then(loaded(record_of(again)), loaded(record_of(kept))) == loaded(record_of(kept))
    for name in ("encoder", "data", "recipe"):
        assert known_then(record_of(again)[name], record_of(kept)[name]) == record_of(kept)[name]
    if same_arithmetic(again, kept):
        assert computed(again) == computed(kept)
        assert record_of(again)["metrics"] == record_of(kept)["metrics"]


@pytest.mark.slow
@pytest.mark.parametrize("run", UNFINISHED)
def test_a_stopped_run_goes_on_from_its_checkpoint(desk: Desk, run: str) -> None:
    need(run)
    before, answer = record_of(KEPT / "unfinished" / run), desk.answers[run]
    assert before["status"] == "preempted"
    assert answer.code == 0, answer.err
    assert f"continuing from step {before['steps']} of " in answer.err
    logged = (KEPT / "unfinished" / run / "metrics.jsonl").read_bytes()
    assert (desk.folder / "runs" / run / "metrics.jsonl").read_bytes().startswith(logged)
    assert_same_numbers(desk.folder / "runs" / run, KEPT / "continued" / run, before["steps"])


@pytest.mark.slow
@pytest.mark.parametrize(("schema", "name"), OLDER.items())
def test_work_with_a_record_of_an_older_schema_is_not_done_again(desk: Desk, schema: int, name: str) -> None:
    assert record_of(KEPT / "older" / name)["schema_version"] == schema
    assert desk.answers[name].out.startswith(f"already done: older/{name} (")


@pytest.mark.long
@pytest.mark.slow
def test_a_stopped_pipeline_goes_on(work: Path, desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    (work / "data").symlink_to(desk.folder / "data")
    resumed = command("pipeline", "resume", "before", cwd=work)
    assert resumed.returncode == 0, resumed.stdout
    assert "4/4 stages done" in resumed.stdout
    for run in FINISHED:
        assert files_below(work / "runs" / run) == files_below(KEPT / "finished" / run)
    for stage in ("pretrain.simmim", "digits.simmim.seed0"):
        name = f"attempts/{stage}.json"
        assert (work / "pipelines" / PIPELINE / name).read_bytes() == (KEPT / "launched" / PIPELINE / name).read_bytes()
    before = record_of(KEPT / "unfinished" / IN_PIPELINE)
    assert_same_numbers(work / "runs" / IN_PIPELINE, KEPT / "continued" / IN_PIPELINE, before["steps"])
    if same_arithmetic(work / "runs" / IN_PIPELINE, KEPT / "continued" / IN_PIPELINE):
        assert scores(work / "pipelines" / PIPELINE / "report") == scores(KEPT / "continued")
    assert mimbench.main(["pipeline", "submit", "pipeline.yaml", "--cluster", "cluster.yaml"]) == 0
    assert "4/4 stages done, nothing was left to do" in capsys.readouterr().out


def scores(report: Path) -> list[dict[str, str]]:
    """Return a leaderboard's rows without what tells time."""
    with open(report / "leaderboard.csv", newline="") as table:
        return [{name: cell for name, cell in row.items() if name.endswith(SCORES)} for row in csv.DictReader(table)]
