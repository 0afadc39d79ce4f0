"""What each tracker's own code finds in the files that a run left: values by step, of every name.

As a program it tracks one step of the run whose record it reads, in the folder that it is given.
"""

from __future__ import annotations

import json
import struct
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.engine.track.log import TrainingLog
from benchmarks.runs.folder import Run, RunFolder
from benchmarks.runs.record import RunRecord
from benchmarks.training.schedules import Cosine
from benchmarks.training.training import Training

Curves = dict[str, list[tuple[int, float]]]
BLOCK = 2**15
"""W&B's file is a LevelDB log: blocks of this size, after 7 bytes of W&B's own at the file's begin."""


def tensorboard_curves(run: Path) -> Curves:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(run / "tensorboard"))
    found.Reload()
    return {tag: [(event.step, event.value) for event in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def wandb_curves(run: Path) -> Curves:
    curves: Curves = defaultdict(list)
    for record in wandb_records(run):
        if record.HasField("history"):
            items = {
                (item.key or "/".join(item.nested_key)): json.loads(item.value_json) for item in record.history.item
            }
            for name in items.keys() - {"_step", "_runtime", "_timestamp"}:
                curves[name].append((items["_step"], items[name]))
    return dict(curves)


def wandb_records(run: Path) -> list[Any]:
    """Return the records of the only offline folder, as W&B's own classes parse them."""
    from wandb.proto.wandb_internal_pb2 import Record

    (path,) = (run / "wandb").glob("offline-run-*/run-*.wandb")
    return [Record.FromString(found) for found in _logged(path.read_bytes())]


def _logged(content: bytes) -> Iterator[bytes]:
    """Yield the records of a LevelDB log. Source: google/leveldb, doc/log_format.md."""
    assert content[:4] == b":W&B"
    at, parts = 7, b""
    while at + 7 <= len(content):
        if BLOCK - at % BLOCK < 7:
            at += BLOCK - at % BLOCK
            continue
        _, length, kind = struct.unpack_from("<IHB", content, at)
        parts += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield parts
            parts = b""


def mlflow_client(runs: Path) -> Any:
    from mlflow import MlflowClient

    return MlflowClient((runs / "mlflow").as_uri())


def mlflow_run(runs: Path) -> Any:
    """Return the only run of the store beside the run folders."""
    client = mlflow_client(runs)
    (found,) = client.search_runs([client.get_experiment_by_name("mimbench").experiment_id])
    return found


def mlflow_curves(runs: Path) -> Curves:
    client, run = mlflow_client(runs), mlflow_run(runs)
    return {
        name: [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, name)]
        for name in run.data.metrics
    }


if __name__ == "__main__":
    once = Cosine(base_lr=1, warmup_lr=0, min_lr=0, warmup_epochs=0)
    recipe = Training(epochs=1, batch_size=1, schedule=once, track=("wandb", "mlflow"))
    record = RunRecord.model_validate_json(sys.stdin.read())
    with TrainingLog(Run(RunFolder(Path(sys.argv[1])), record), recipe) as log:
        log.rewind(0)
        log.write(step=1, loss=1.0)
