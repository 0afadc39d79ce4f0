"""TensorBoard: event files in the run's `tensorboard/`, written anew at every start."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Mapping
from typing import Any

from benchmarks.engine.track.tracker import Ending, Tracked, imported


class EventFiles:
    """Event files of one run."""

    def __init__(self, writer: Any) -> None:
        self._writer = writer

    def write(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self, ending: Ending) -> None:  # noqa: ARG002 (event files have no place for it)
        self._writer.close()


def open_tensorboard(run: Tracked) -> EventFiles:
    """Begin the run's event files; those of an earlier start are replaced."""
    library = imported("torch.utils.tensorboard", "tensorboard")
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(run.folder.tensorboard)
    # A TensorBoard that is looking at the folder drops what it has read of the earlier files.
    return EventFiles(library.SummaryWriter(run.folder.tensorboard, purge_step=0))
