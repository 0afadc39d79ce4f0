"""Runs made from Python: the same ones as the verbs make, without a word where none is wanted, and never lost."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

import pytest

import mimbench
from tests.support import small
from tests.support.runs import assert_same_training, last_checkpoint, only_run, record_of, stop_after_step

SHORT = {"image_size_px": 32, "training.epochs": 2, "training.batch_size": 20, "training.schedule.warmup_epochs": 1}


@pytest.fixture(scope="module")
def data(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Few digits, which no test may change."""
    return small.cut_digits(digits, tmp_path_factory.mktemp("data") / "cut")


@pytest.fixture(scope="module")
def finetuned(data: Path, tmp_path_factory: pytest.TempPathFactory) -> mimbench.RunResult:
    """A short fine-tuning; no test may change it."""
    runs = tmp_path_factory.mktemp("finetuned")
    return mimbench.transfer(
        "digits", f"random:{small.SWIN}", data=data, overrides=SHORT, runs=runs, label="swin", progress=False
    )


def test_a_run_is_what_its_record_says_and_the_verb_finds_it_done(
    finetuned: mimbench.RunResult, capsys: pytest.CaptureFixture[str]
) -> None:
    assert capsys.readouterr().out == ""
    assert (finetuned.record, finetuned.done_before) == (record_of(finetuned.folder), False)
    assert finetuned.scores == {name: value.last for name, value in finetuned.record.metrics.items()}
    assert finetuned.scores["top1"] >= 0
    assert "continuing" not in finetuned.messages
    assert "step" in finetuned.messages
    assert mimbench.main([*finetuned.record.command[1:]]) == mimbench.DONE
    assert capsys.readouterr().out.startswith(f"already done: {finetuned.folder}")
    assert finetuned.encoder == finetuned.folder / "encoder"


def test_the_same_call_again_computes_nothing(finetuned: mimbench.RunResult, data: Path) -> None:
    again = mimbench.transfer(
        "digits",
        f"random:{small.SWIN}",
        overrides=[f"{name}={value}" for name, value in SHORT.items()],
        data=str(data),
        runs=finetuned.folder.parent,
        progress=False,
    )
    assert (again.folder, again.done_before, again.messages) == (finetuned.folder, True, "")


def test_ctrl_c_leaves_a_run_that_the_same_call_finishes(data: Path, tmp_path: Path) -> None:
    command = small.pretraining(data)
    overrides = [each for each in command[2:] if not each.startswith("data.root=")]

    def pretrain(runs: Path) -> mimbench.RunResult:
        return mimbench.pretrain(command[1], data=data, overrides=overrides, runs=runs, progress=False)

    with pytest.MonkeyPatch.context() as patch:
        stop_after_step(patch, 4, signal.SIGINT)
        with pytest.raises(mimbench.Stopped):
            pretrain(tmp_path / "stopped")
    folder = only_run(tmp_path / "stopped")
    assert (record_of(folder).status, last_checkpoint(folder).step) == ("preempted", 4)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    resumed, undisturbed = pretrain(tmp_path / "stopped"), pretrain(tmp_path / "undisturbed")
    assert resumed.record.attempts == 2
    assert_same_training(resumed.folder, undisturbed.folder)
    assert mimbench.load(str(resumed.encoder)).sha256 == undisturbed.record.exported_sha256


def test_a_run_in_another_thread_than_the_main_one(data: Path, tmp_path: Path) -> None:
    """Python takes handlers of signals in its main thread alone, and widgets of notebooks work in others."""
    found: list[mimbench.RunResult] = []

    def work() -> None:
        recipe = {"recipe": "digits_knn", "overrides": {"k": 5, "other_k": []}}
        found.append(mimbench.transfer("digits", f"random:{small.SWIN}", data=data, runs=tmp_path, **recipe))  # type: ignore[arg-type]

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found[0].record.status == "completed"


def test_mistakes_are_errors_of_the_packages_own(tmp_path: Path, data: Path) -> None:
    with pytest.raises(mimbench.UserError, match="Did you mean digits"):
        mimbench.transfer("digit", f"random:{small.SWIN}", runs=tmp_path)
    with pytest.raises(mimbench.UserError, match=r"training\.epoch"):
        mimbench.transfer("digits", f"random:{small.SWIN}", data=data, overrides={"training.epoch": 1}, runs=tmp_path)
    with pytest.raises(mimbench.UserError, match="RUNS"):
        mimbench.leaderboard(str(tmp_path / "nowhere"))
    assert list(tmp_path.iterdir()) == []


def test_a_finished_run_is_scored_on_a_further_test_set(finetuned: mimbench.RunResult, data: Path) -> None:
    added = {"data.test_sets.again.root": str(data), "data.test_sets.again.split": "test"}
    found = mimbench.evaluate("digits", finetuned.folder, overrides=added, progress=False)
    (test_set,) = found.record.added_test_sets
    assert test_set.scores["top1"] == pytest.approx(finetuned.scores["top1"])
    assert "added again" in found.messages
    assert mimbench.evaluate("digits", finetuned.folder, overrides=added).done_before


def test_tables_have_every_run_and_say_what_is_left_out(
    finetuned: mimbench.RunResult, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = finetuned.folder.parent
    (runs / "damaged").mkdir()
    (runs / "damaged" / "record.json").write_text("{")
    try:
        with pytest.warns(UserWarning, match="damaged"):
            table = mimbench.records(runs)
        with pytest.warns(UserWarning, match="damaged"):
            board = mimbench.leaderboard(runs, out=tmp_path / "report", formats=["csv"])
    finally:
        (runs / "damaged" / "record.json").unlink()
        (runs / "damaged").rmdir()
    (row,) = table.to_dict("records")
    assert (row["run_id"], row["score.top1"]) == (finetuned.record.run_id, finetuned.scores["top1"])
    assert (row["mimbench"], row["encoder"]) == (mimbench.__version__, "swin")
    ((where, _),) = table.attrs["left_out"]
    assert where == str(runs / "damaged" / "record.json")
    measured = board[board["kind"] == "measured"]
    assert list(measured["encoder"]) == ["swin"]
    assert float(measured["top1_last_mean"].iloc[0]) == pytest.approx(finetuned.scores["top1"], abs=0.01)
    assert [path.name for path in (tmp_path / "report").iterdir()] == ["leaderboard.csv"]
    assert capsys.readouterr().out == ""
