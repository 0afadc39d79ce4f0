"""The trackers by the names that a recipe gives them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from benchmarks.engine.track.mlflow_run import open_mlflow
from benchmarks.engine.track.tensorboard_events import open_tensorboard
from benchmarks.engine.track.tracker import Tracked, Tracker
from benchmarks.engine.track.wandb_run import open_wandb
from benchmarks.training.training import TrackerName

TRACKERS: Mapping[TrackerName, Callable[[Tracked], Tracker]] = {
    "tensorboard": open_tensorboard,
    "wandb": open_wandb,
    "mlflow": open_mlflow,
}
"""Each opens a run; it raises UserError where its library is missing or refuses what is asked."""
