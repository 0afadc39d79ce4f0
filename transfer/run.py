"""The life of a transfer's run, whatever the kind of task."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from benchmarks.engine.device import device_name
from benchmarks.runs.command import first_record
from benchmarks.runs.folder import Run, open_run
from benchmarks.runs.record import LoadReport, TaskUse
from transfer.adapter import Transfer
from transfer.classification.recipe import EncoderSizes
from transfer.encoder.loading import require_complete


@contextlib.contextmanager
def open_transfer(
    transfer: Transfer, device: torch.device, report: LoadReport, flops_per_image: float | None = None
) -> Iterator[Run]:
    """Open the run of a transfer whose encoder was loaded as `report` says.

    `flops_per_image` is None for a model whose cost depends on what it finds on an image.

    Raises WorkFailed, noted in the record, unless the whole encoder came from the checkpoint.
    """
    work, source, task = transfer.work, transfer.source, transfer.task
    recipe: EncoderSizes = work.config
    record = first_record(
        "transfer",
        work,
        device_name(device),
        task=TaskUse(name=task.name, version=task.version),
        encoder=source.use,
        load_report=report,
        image_size_px=recipe.image_size_px,
        flops_per_image=flops_per_image,
        parents=source.parents,
    )
    with open_run(work.folder, record, work.recipe.to_yaml()) as run:
        if source.read is not None:
            require_complete(report, source.use.reference, source.names)
        yield run
