"""The training that a run's record speaks of, as a stage of an encoder's history."""

from __future__ import annotations

from typing import Any

from benchmarks.history import (
    MOST_STAGES,
    TrainingData,
    TrainingStage,
    find_data_set,
    history_from_parents,
    name_of_folder,
    no_longer,
    short,
)
from benchmarks.runs.record import EncoderUse, RunRecord

OWN_DATA = ("imagefolder", "imagemasks", "coco_format", "videofolder")
"""Tasks on data of one's own, which are called by their folder."""


def own_stage(record: RunRecord, epochs: float | None = None) -> TrainingStage:
    """Return the training of a run; `epochs` are those done so far, where it has not ended."""
    pretraining = record.kind == "pretrain"
    images = record.training_images if record.training_images is not None else _drawn(record)
    return TrainingStage(
        method="simmim" if pretraining else _method(record),
        data=TrainingData(
            name=data_name(record, images),
            images=images,
            fingerprint=record.data.fingerprint or None,
            labels="none" if pretraining else "labels",
        ),
        epochs=_epochs(record, images) if epochs is None else epochs,
        run_id=record.run_id,
        recipe_digest=record.recipe.digest,
        seed=record.seed,
        seconds=record.seconds,
        gpus=0 if record.environment.device.startswith("cpu") else record.processes,
    )


def history_before(use: EncoderUse, parents: tuple[str, ...]) -> tuple[TrainingStage, ...]:
    """Return the history of the encoder that a run started from; records of earlier versions name only the runs."""
    if use.history is not None:
        return use.history
    return () if use.init_stage == "random" else history_from_parents(parents, use.method, use.epochs)


def history_after(record: RunRecord, epochs: float | None = None) -> tuple[TrainingStage, ...]:
    """Return the history of the encoder that a run trained; `epochs` as in `own_stage`."""
    before = history_before(record.encoder, record.parents) if record.encoder else ()
    return (*no_longer(before, MOST_STAGES - 1), own_stage(record, epochs))


def _method(record: RunRecord) -> str:
    """Return `supervised`, with the protocol of a transfer that trains no encoder, only what stands on it."""
    protocol = record.recipe.resolved.get("protocol")
    if record.recipe.resolved.get("adapters"):
        return "supervised (low-rank adapters)"
    if not isinstance(protocol, str) or protocol in ("", "finetune"):
        return "supervised"
    return short(f"supervised ({protocol})" if _training(record) else protocol)


def data_name(record: RunRecord, images: int | None) -> str:
    """Return what the data set of a run is called; that of a task on one's own data is called as its folder is."""
    if record.task is None or record.task.name in OWN_DATA:
        return name_of_folder(record.data.root, images)
    known = find_data_set(record.task.name)
    return known.name if known is not None else short(record.task.name)


def _training(record: RunRecord) -> dict[str, Any]:
    training = record.recipe.resolved.get("training")
    return training if isinstance(training, dict) else {}


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 2**53 else None


def _samples(record: RunRecord) -> int | None:
    """Return how many samples the training drew; None where the record does not say."""
    batch = _number(_training(record).get("batch_size"))
    return _number(record.steps * batch) if batch is not None and record.steps else None


def _drawn(record: RunRecord) -> int | None:
    """Return the images of an epoch, for records that do not count what is trained on: without a ragged last batch."""
    samples, epochs = _samples(record), _number(_training(record).get("epochs"))
    return round(samples / epochs) if samples is not None and epochs else None


def _epochs(record: RunRecord, images: int | None) -> float | None:
    training = _training(record)
    if not training:  # nearest neighbours
        return 0.0
    if (epochs := _number(training.get("epochs"))) is not None:
        return float(epochs)
    samples = _samples(record)
    return samples / images if samples is not None and images else None
