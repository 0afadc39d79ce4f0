"""A finished run gets further test sets: the scores are those of a run that had them from its start."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import mimbench
from benchmarks.runs.find import find_runs
from reports.records.integrity import altered
from tests.support import small
from tests.support.runs import only_run, record_of, trained
from tests.support.small import RANDOM
from tests.transfer.kinds import CLASSIFICATION, KINDS, SEGMENTATION, VIDEO, Kind, rows_of


def evaluate(task: str, run: Path, *more: str) -> int:
    return mimbench.main(["evaluate", task, "--model", str(run), *more])


@pytest.fixture(params=KINDS, ids=str)
def kind(request: pytest.FixtureRequest) -> Kind:
    kind: Kind = request.param
    kind.require()
    return kind


def other_test_set(kind: Kind, data: Path, other: Path) -> None:
    """Make of a copy of `data` one whose test samples are training samples of `data`; what is trained on stays."""
    shutil.copytree(data, other)
    if kind is CLASSIFICATION:
        shutil.rmtree(other / "test")
        shutil.copytree(data / "train", other / "test")
    elif kind is VIDEO:
        shutil.rmtree(other / "val")
        shutil.copytree(data / "train", other / "val")
    elif kind is SEGMENTATION:
        for part in ("images", "annotations"):
            shutil.rmtree(other / part / "validation")
            shutil.copytree(data / part / "training", other / part / "validation")
    else:
        shutil.rmtree(other / "test")
        shutil.copytree(data / "train", other / "test")
        shutil.copy(data / "annotations" / "instances_train.json", other / "annotations" / "instances_test.json")


def overrides(kind: Kind, other: Path) -> list[str]:
    if kind is CLASSIFICATION:
        return [f"data.test_sets.other.root={other}", "data.test_sets.other.split=test"]
    return ["--name", "other", f"data.root={other}"]


def test_an_added_test_set_has_the_scores_of_a_run_that_was_tested_on_it(
    kind: Kind, request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, other = kind.cut(request.getfixturevalue(kind.whole), tmp_path / "data"), tmp_path / "other"
    other_test_set(kind, data, other)
    command = [*kind.command(data), *RANDOM, *kind.shorter]
    run = trained(command, tmp_path / "runs")
    directly = trained([*kind.command(other), *RANDOM, *kind.shorter], tmp_path / "direct")
    before, files = record_of(run), {name: (run / name).read_bytes() for name in kind.results}

    assert evaluate(kind.task, run, *overrides(kind, other)) == 0
    record = record_of(run)
    (added,) = record.added_test_sets
    expected = {name: value.last for name, value in record_of(directly).metrics.items()}
    shared = added.scores.keys() & expected.keys()
    assert shared
    assert {name: added.scores[name] for name in shared} == {name: expected[name] for name in shared}
    assert added.reproduced == {name: before.metrics[name].last for name in added.reproduced} != {}
    (row,) = rows_of(run / "test_sets.csv")
    assert row["test_set"] == "other"
    assert float(row[min(shared)]) == pytest.approx(expected[min(shared)], abs=1e-4)

    # Nothing else has changed: the run is the one that it was, and reports take it.
    assert record.model_copy(update={"added_test_sets": ()}) == before
    assert {name: (run / name).read_bytes() for name in kind.results} == files
    assert altered(run, record) is None
    (found,) = find_runs([str(tmp_path / "runs")]).runs
    assert found.record == record

    capsys.readouterr()
    assert evaluate(kind.task, run, *overrides(kind, other)) == 0
    assert "already done" in capsys.readouterr().out
    assert record_of(run) == record


@pytest.fixture(scope="module")
def data(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small.cut_digits(digits, tmp_path_factory.mktemp("evaluated") / "data")


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs folder of a finished fine-tuning; nothing may change what lies there."""
    runs = tmp_path_factory.mktemp("finished")
    trained([*small.classification(data), *RANDOM, *CLASSIFICATION.shorter], runs)
    return runs


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, which a test may change."""
    return Path(shutil.copytree(only_run(finished), tmp_path / only_run(finished).name))


def test_several_sets_in_two_goes_make_the_table_of_a_run_that_had_them_from_the_start(
    run: Path, data: Path, tmp_path: Path
) -> None:
    sets = [
        f"data.test_sets.others.root={data}",
        "data.test_sets.others.split=train",
        f"data.test_sets.own.root={data / 'train'}",
        "data.test_sets.own.scored_classes=own",
    ]
    start = [*small.classification(data), *RANDOM, *CLASSIFICATION.shorter, *sets]
    directly = trained(start, tmp_path / "direct")
    assert evaluate("digits", run, *sets[:2]) == 0
    assert evaluate("digits", run, *sets) == 0
    assert (run / "test_sets.csv").read_bytes() == (directly / "test_sets.csv").read_bytes()
    others, own = record_of(run).added_test_sets
    assert (others.name, others.data.images, own.name) == ("others", 40, "own")
    parts = record_of(directly).data.parts
    assert others.data.fingerprint == f"40 images, {parts['test set others'][:16]}"


def test_a_report_is_made_again_from_the_changed_record(run: Path, data: Path, tmp_path: Path) -> None:
    assert evaluate("digits", run, f"data.test_sets.others.root={data / 'train'}") == 0
    page = tmp_path / "report"
    assert mimbench.main(["report", "leaderboard", str(run), "--out", str(page)]) == 0
    assert mimbench.main(["report", "verify", str(page)]) == 0


def refused(capsys: pytest.CaptureFixture[str], task: str, run: Path, *more: str) -> str:
    capsys.readouterr()
    assert evaluate(task, run, *more) == mimbench.WRONG
    said = capsys.readouterr().err
    assert "rule:" in said
    assert "remedy:" in said
    return said


def test_what_is_no_finished_run_or_asks_for_another_one_is_refused(
    run: Path, data: Path, simmim_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert "a pretraining has none" in refused(capsys, "digits", simmim_run)
    assert "the task of the run (digits, version 1)" in refused(capsys, "imagefolder", run)
    assert "override = layer_decay=0.5" in refused(capsys, "digits", run, "layer_decay=0.5")
    assert "override = data.test_crop=0.5" in refused(capsys, "digits", run, "data.test_crop=0.5")
    assert "override = image_size_px=64" in refused(capsys, "digits", run, "image_size_px=64")
    assert "--name" in refused(capsys, "digits", run, "--name", "v2", f"data.root={data}")
    strange = tmp_path / "strange"
    shutil.copytree(data / "test" / "3", strange / "three")
    assert "classes = three in" in refused(capsys, "digits", run, f"data.test_sets.strange.root={strange}")
    other = Path(shutil.copytree(data, tmp_path / "other"))
    next((other / "train" / "3").iterdir()).unlink()
    assert "the data that the run was completed on" in refused(capsys, "digits", run, f"data.root={other}")
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before

    record = json.loads((run / "record.json").read_text())
    (run / "record.json").write_text(json.dumps(record | {"status": "preempted", "error": "SIGTERM"}))
    assert "this one is preempted: SIGTERM" in refused(capsys, "digits", run)
    (run / "record.json").write_text(json.dumps(record))
    shutil.rmtree(run / "checkpoints")
    assert "checkpoint of" in refused(capsys, "digits", run)


def test_a_set_that_was_scored_among_all_classes_is_scored_among_its_own_beside_that(run: Path, data: Path) -> None:
    """As ImageNet-A was before its name brought that: the older score stays, under its own name."""
    root = f"data.test_sets.imagenet_a.root={data / 'train'}"
    assert evaluate("digits", run, root, "data.test_sets.imagenet_a.scored_classes=all") == 0
    for _ in range(2):
        assert evaluate("digits", run, root) == 0
    every, own = record_of(run).added_test_sets
    assert (set(every.scores), set(own.scores)) == ({"top1", "top5"}, {"top1_masked", "top5_masked"})
    (row,) = rows_of(run / "test_sets.csv")
    assert float(row["top1"]) == float(row["top1_masked"]), "the data have all of the model's classes"


def test_a_name_means_one_test_set(run: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate("digits", run, f"data.test_sets.others.root={data / 'train'}") == 0
    said = refused(capsys, "digits", run, f"data.test_sets.others.root={data / 'test'}")
    assert "others is on record with 40 images" in said


def test_data_that_were_moved_are_found_and_a_score_that_is_not_reproduced_fails(
    run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = Path(shutil.copytree(data, tmp_path / "moved"))
    assert evaluate("digits", run, f"data.root={moved}") == 0
    assert "on its own test set: top1" in capsys.readouterr().out
    record = json.loads((run / "record.json").read_text())
    record["metrics"]["top1"]["last"] += 5.0  # one image of 20
    (run / "record.json").write_text(json.dumps(record))
    others = f"data.test_sets.others.root={data / 'train'}"
    assert evaluate("digits", run, others) == mimbench.FAILED
    assert "does not reproduce its scores" in capsys.readouterr().err
    assert record_of(run).added_test_sets == ()
    assert not (run / "test_sets.csv").exists()
    assert evaluate("digits", run, others, "--tolerance", "5.5") == 0
    (added,) = record_of(run).added_test_sets
    assert added.reproduced["top1"] == pytest.approx(record["metrics"]["top1"]["last"] - 5.0)


def test_a_probe_finds_its_frozen_encoder_again(
    simmim_run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only the probe is in its checkpoint, so another encoder would give another score: it must be the recorded one."""
    encoder = Path(shutil.copytree(simmim_run / "encoder", tmp_path / "encoder"))
    command = ["transfer", "digits", f"data.root={data}", "--recipe", "digits_linear", "--encoder", str(encoder)]
    command += ["image_size_px=32", "training.epochs=2", "training.batch_size=20", "training.schedule.warmup_epochs=1"]
    probe = trained(command, tmp_path / "runs")
    others = f"data.test_sets.others.root={data / 'train'}"
    moved = encoder.rename(tmp_path / "moved")
    assert "--encoder REF says where it lies now" in refused(capsys, "digits", probe, others)
    assert evaluate("digits", probe, others, "--encoder", str(moved)) == 0
    assert [added.name for added in record_of(probe).added_test_sets] == ["others"]
    knn = [*command[:3], "--recipe", "digits_knn", "--encoder", str(moved), "image_size_px=32", "k=5", "other_k=[]"]
    neighbours = trained(knn, tmp_path / "knn")
    assert "nearest neighbours" in refused(capsys, "digits", neighbours, others)


def test_a_probe_finds_the_weights_that_its_command_chose(simmim_run: Path, data: Path, tmp_path: Path) -> None:
    """Of a file with several sets the probe took the one that is not the default, as its record's command says."""
    tensors = load_file(simmim_run / "encoder" / "encoder.safetensors")
    other = {name: tensor.roll(1, 0) for name, tensor in tensors.items()}
    torch.save({"state_dict_ema": tensors, "state_dict": other}, tmp_path / "both.pth")
    architecture = json.loads((simmim_run / "encoder" / "manifest.json").read_text())["architecture"]
    (tmp_path / "stated.yaml").write_text(json.dumps(architecture))
    said = ["--weights", "state_dict", "--stage", "self-supervised", "--architecture", str(tmp_path / "stated.yaml")]
    command = ["transfer", "digits", f"data.root={data}", "--recipe", "digits_linear", "image_size_px=32"]
    command += ["training.epochs=2", "training.batch_size=20", "training.schedule.warmup_epochs=1"]
    probe = trained([*command, "--encoder", str(tmp_path / "both.pth"), *said], tmp_path / "runs")
    assert evaluate("digits", probe, f"data.test_sets.others.root={data / 'train'}") == 0


def test_a_suite_may_be_asked_of_a_finished_run(
    small_digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is no change of what was trained; here its first test set is looked for, and is not there."""
    run = trained([*CLASSIFICATION.command(small_digits), *RANDOM, *CLASSIFICATION.shorter], tmp_path / "runs")
    capsys.readouterr()
    assert evaluate("digits", run, f"data.suites.imagenet_robustness={tmp_path}") == mimbench.WRONG
    assert f"{tmp_path}/imagenetv2-matched-frequency-format-val" in capsys.readouterr().err
