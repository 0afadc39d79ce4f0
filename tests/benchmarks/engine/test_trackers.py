"""Trackers: each library finds in what a run left what metrics.jsonl and the record say; nothing leaves the machine."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import pytest

from benchmarks.config import validate
from benchmarks.engine.track.log import TrainingLog
from benchmarks.engine.track.table import TRACKERS
from benchmarks.engine.track.tracker import Ending
from benchmarks.errors import UserError
from benchmarks.runs.folder import Run, RunFolder
from benchmarks.training.training import Training
from tests.support.command import ROOT
from tests.support.runs import record_of, stop_after, trained
from tests.support.trackers import Curves, mlflow_curves, mlflow_run, tensorboard_curves, wandb_curves, wandb_records

ALL = "training.track=[tensorboard,wandb,mlflow]"
PASSWORD = "hunter2"


@pytest.fixture(scope="module")
def tracked(simmim_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run whose log the tests write themselves, with the record of a real pretraining."""
    record = record_of(simmim_run)
    return Run(RunFolder(tmp_path_factory.mktemp("runs") / record.run_id), record)


def recipe(*names: str, online: bool = False) -> Training:
    schedule = {"base_lr": 1, "warmup_lr": 0, "min_lr": 0, "warmup_epochs": 0}
    fields = {"epochs": 1, "batch_size": 2, "schedule": schedule, "track": names, "track_online": online}
    return Training.model_validate_json(json.dumps(fields))


def logged(folder: Path) -> Curves:
    """Return what metrics.jsonl and the record say."""
    curves: Curves = defaultdict(list)
    for line in map(json.loads, (folder / "metrics.jsonl").read_text().splitlines()):
        for name in line.keys() - {"step", "epoch", "total_steps", "eta_seconds"}:
            curves[name].append((line["step"], line[name]))
    record = record_of(folder)
    return dict(curves) | {f"score/{name}": [(record.steps, value.last)] for name, value in record.metrics.items()}


def test_all_three_have_what_a_stopped_and_continued_run_logged(pretrain_command: list[str], tmp_path: Path) -> None:
    command, runs = [*pretrain_command, ALL], tmp_path / "runs"
    folder = stop_after(command, runs, step=4)
    first = mlflow_run(runs)
    assert first.info.status == "KILLED"
    trained(command, runs)
    expected = logged(folder)
    curves = {"loss", "lr", "grad_norm", "images_per_second", "masked_loss"}
    assert expected.keys() == curves | {"score/masked_loss", "score/avg_dist_px"}
    assert len(expected["loss"]) > 2, "steps from before and after the stop"
    assert wandb_curves(folder) == expected
    assert mlflow_curves(runs) == expected
    events = tensorboard_curves(folder)
    assert events.keys() == expected.keys()
    for name, points in expected.items():
        assert [step for step, _ in events[name]] == [step for step, _ in points]
        assert [value for _, value in events[name]] == pytest.approx([value for _, value in points], rel=1e-6)

    run = mlflow_run(runs)
    assert (run.info.run_id, run.info.status) == (first.info.run_id, "FINISHED")
    assert run.info.run_name == run.data.tags["mimbench.run_id"] == folder.name
    assert run.data.params["training.batch_size"] == str(record_of(folder).recipe.resolved["training"]["batch_size"])
    (opened,) = (record.run for record in wandb_records(folder) if record.HasField("run"))
    assert (opened.run_id, opened.project) == (folder.name, "mimbench")


def test_steps_that_are_done_again_after_a_crash_are_there_once(tracked: Run) -> None:
    for first, last in ((0, 4), (2, 5)):  # the first life ends after step 4, with a checkpoint of step 2
        log = TrainingLog(tracked, recipe("tensorboard", "wandb", "mlflow"))
        log.rewind(first)
        for step in range(first + 1, last + 1):
            log.write(step=step, loss=step / 2)
        log.__exit__(RuntimeError, None, None)
    expected = {"loss": [(step, step / 2) for step in range(1, 6)]}
    folder = tracked.folder.path
    assert tensorboard_curves(folder) == wandb_curves(folder) == mlflow_curves(folder.parent) == expected
    assert mlflow_run(folder.parent).info.status == "FAILED"


def test_values_of_a_life_that_was_given_up_are_replaced(tmp_path: Path, tracked: Run) -> None:
    run = Run(RunFolder(tmp_path / tracked.record.run_id), tracked.record)
    with TrainingLog(run, recipe("tensorboard", "wandb", "mlflow")) as log:
        for first, loss in ((0, 7.0), (1, 3.0)):  # after step 3 it goes back to step 1
            log.rewind(first)
            for step in range(first + 1, 4):
                log.write(step=step, loss=loss)
    expected = {"loss": [(1, 7.0), (2, 3.0), (3, 3.0)]}
    assert tensorboard_curves(run.folder.path) == wandb_curves(run.folder.path) == expected
    assert mlflow_curves(tmp_path)["loss"] == [(1, 7.0), (2, 7.0), (3, 7.0), (2, 3.0), (3, 3.0)], "the later one counts"


def test_a_tracker_that_comes_later_gets_the_whole_history(tmp_path: Path, tracked: Run) -> None:
    run = Run(RunFolder(tmp_path / tracked.record.run_id), tracked.record)
    run.folder.path.mkdir()
    for first, names in ((0, ()), (2, ("tensorboard",))):
        with TrainingLog(run, recipe(*names)) as log:
            log.rewind(first)
            log.write(step=first + 2, epoch=1.0, total_steps=4, eta_seconds=1.0, loss=float(first))
    assert tensorboard_curves(run.folder.path) == {"loss": [(2, 0.0), (4, 2.0)]}


def test_only_the_main_rank_writes(tmp_path: Path, tracked: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    with TrainingLog(Run(RunFolder(tmp_path / "run"), tracked.record), recipe("tensorboard", "wandb", "mlflow")) as log:
        log.rewind(0)
        log.write(step=1, loss=1.0)
        log.conclude(1, {"top1": 50.0})
    assert list(tmp_path.iterdir()) == []


def test_a_tracker_that_fails_does_not_end_the_training(
    pretrain_command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Down:
        def write(self, step: int, values: Mapping[str, float]) -> None:
            raise ConnectionError(f"https://me:{PASSWORD}@server refuses step {step} with {len(values)} values")

        def close(self, ending: Ending) -> None:
            raise AssertionError(ending)

    monkeypatch.setitem(TRACKERS, "wandb", lambda _: Down())
    folder = trained([*pretrain_command, "training.track=[wandb,tensorboard]"], tmp_path / "runs")
    said = capsys.readouterr().err
    assert said.count("warning: wandb takes no more numbers (ConnectionError)") == 1
    assert PASSWORD not in said + (folder / "record.json").read_text()
    assert tensorboard_curves(folder).keys() == logged(folder).keys()


@pytest.mark.parametrize(
    ("name", "package"), [("tensorboard", "torch.utils.tensorboard"), ("wandb", "wandb"), ("mlflow", "mlflow")]
)
def test_without_the_package_the_remedy_is_named(
    name: str, package: str, tracked: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=rf"training.track = {name}\n(?s:.*)pip install 'mimbench\[{name}\]'"):
        TrainingLog(tracked, recipe(name)).rewind(0)


def test_a_server_that_nobody_named_is_asked_for(tracked: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(UserError, match="MLFLOW_TRACKING_URI=ADDRESS"):
        TrainingLog(tracked, recipe("mlflow", online=True)).rewind(0)


def test_a_login_that_is_missing_is_asked_for(tmp_path: Path, tracked: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))  # where a login would be
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    run = Run(RunFolder(tmp_path / "run"), tracked.record)
    run.folder.path.mkdir()
    with pytest.raises(UserError, match="`wandb login`"):
        TrainingLog(run, recipe("wandb", online=True)).rewind(0)


def test_recipes_from_before_there_were_others_than_tensorboard_are_read() -> None:
    fields = json.loads(recipe().model_dump_json(exclude={"track", "track_online"}))
    for value, names in ((True, ("tensorboard",)), (False, ())):
        assert validate(Training, fields | {"tensorboard": value}, "a recipe").track == names


class Listener:
    """A proxy that refuses everybody, and knows where they wanted to go."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.asked: set[str] = set()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            caller, _ = self.socket.accept()
            with caller:
                caller.settimeout(5)
                self.asked.add(caller.recv(200).split(b" ")[1].decode())

    def environment(self) -> dict[str, str]:
        address = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        return dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), address) | {"no_proxy": ""}


@pytest.mark.parametrize(
    ("allowed", "asked"),
    [
        ({}, set()),
        (  # what the libraries do by themselves, although they are offline
            {"WANDB_ERROR_REPORTING": "true", "MLFLOW_DISABLE_TELEMETRY": "false"},
            {"api.forge.coreweave.com:443", "config.mlflow-telemetry.io:443"},
        ),
    ],
)
def test_nothing_is_sent_unless_asked(allowed: dict[str, str], asked: set[str], tmp_path: Path, tracked: Run) -> None:
    listener = Listener()
    unset = ("NO_PROXY", "CI", "PYTEST_CURRENT_TEST")  # each would keep a library from what it does elsewhere
    others = {name: value for name, value in os.environ.items() if name not in unset}
    environment = {**others, **listener.environment(), **allowed}
    track = [sys.executable, "-m", "tests.support.trackers", str(tmp_path / "runs" / "run")]
    record = tracked.record.model_dump_json()
    done = subprocess.run(track, env=environment, cwd=ROOT, input=record, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert listener.asked == asked
