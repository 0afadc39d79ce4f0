"""MLflow: a run that bears the run's id as a tag, in `mlflow/` beside the run folders unless it is to be sent.

The local store is one of files, which many jobs write at once on a shared file system, as no SQLite file allows.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping
from typing import Any

from benchmarks.engine.track.tracker import PROJECT, Ending, Tracked, imported
from benchmarks.errors import UserError
from benchmarks.files.locks import locked

STATUS = {"completed": "FINISHED", "preempted": "KILLED", "failed": "FAILED"}
RUN_ID = "mimbench.run_id"
PARAMETERS_AT_ONCE = 100
"""MLflow takes no more in one request."""
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",  # otherwise its import already asks its makers' server
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # the training waits meanwhile
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}


class MlflowRun:
    """One run of MLflow."""

    def __init__(self, client: Any, run_id: str) -> None:
        self._client, self._id = client, run_id
        self._known: dict[str, dict[int, float]] = {}
        """The values by step that MLflow has of each metric."""

    def write(self, step: int, values: Mapping[str, float]) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        new = {name: value for name, value in values.items() if self._of(name).get(step) != value}
        if new:
            self._client.log_batch(self._id, metrics=[Metric(name, value, now, step) for name, value in new.items()])

    def _of(self, metric: str) -> dict[int, float]:
        if metric not in self._known:
            history = self._client.get_metric_history(self._id, metric)
            self._known[metric] = {point.step: point.value for point in history}
        return self._known[metric]

    def close(self, ending: Ending) -> None:
        self._client.set_terminated(self._id, STATUS[ending])


def open_mlflow(run: Tracked) -> MlflowRun:
    """Begin or continue the run that is tagged with the run's id. Raises UserError where no server is named."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    store = run.folder.path.parent / "mlflow"
    if run.online and "MLFLOW_TRACKING_URI" not in os.environ:
        rule = "trackers whose server is known: MLFLOW_TRACKING_URI names none"
        raise UserError.about("training.track_online", True, rule, "export MLFLOW_TRACKING_URI=ADDRESS")
    if not run.online:
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow = imported("mlflow", "mlflow")
    client = mlflow.MlflowClient(None if run.online else store.resolve().as_uri())
    if run.online:
        experiment = _experiment(client)
    else:
        with locked(store / ".mimbench.lock", math.inf):
            experiment = _experiment(client)
    return MlflowRun(client, _run_in(client, experiment, run))


def _experiment(client: Any) -> str:
    """Return the id of the experiment, which is made where it is missing."""
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
    found = client.get_experiment_by_name(name)
    return str(found.experiment_id if found is not None else client.create_experiment(name))


def _run_in(client: Any, experiment: str, run: Tracked) -> str:
    """Return MLflow's own id of the run."""
    from mlflow.entities import Param

    for known in client.search_runs([experiment], f"tags.`{RUN_ID}` = '{run.run_id}'", max_results=1):
        client.update_run(known.info.run_id, "RUNNING")
        return str(known.info.run_id)
    tags = {f"mimbench.{name}": value for name, value in run.tags.items()}
    made = client.create_run(experiment, run_name=run.run_id, tags=tags)
    parameters = [Param(name, str(value)) for name, value in run.settings.items()]
    for first in range(0, len(parameters), PARAMETERS_AT_ONCE):
        client.log_batch(made.info.run_id, params=parameters[first : first + PARAMETERS_AT_ONCE])
    return str(made.info.run_id)
