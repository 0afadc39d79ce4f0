"""RunRecord: what one run was, what came out, and the proof that its encoder was loaded."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Iterator
from typing import Any, Literal

import pydantic_core
from pydantic import Field, JsonValue, ValidationError

from benchmarks.config import Amount, Config, Count
from benchmarks.encoders import Architecture, InitStage
from benchmarks.history import History, TrainingData, pretraining_data

Status = Literal["started", "completed", "failed", "preempted"]


class Resized(Config):
    """One tensor that was loaded after a change of shape."""

    name: str
    from_shape: tuple[int, ...]
    to_shape: tuple[int, ...]
    mode: str


class LoadReport(Config):
    """Proof of transfer: which of the encoder's tensors came from the checkpoint."""

    source_format: str
    loaded: Count
    """Tensors copied, the resized ones included."""
    expected: Count
    """Tensors the encoder has, without those a checkpoint need not hold (head, buffers)."""
    parameters: Count | None = None
    """The number of the encoder's parameters, without a head."""
    coverage_percent: Amount
    """Share of the encoder's expected parameters (by number of elements) that came from the checkpoint."""
    resized: tuple[Resized, ...] = ()
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    """Tensors of the checkpoint that found no place in the encoder."""
    mismatched: tuple[str, ...] = ()
    """Tensors of another shape, as `name: found [..], expected [..]`."""
    notes: tuple[str, ...] = ()
    """What was assumed of the encoder where its checkpoint does not say."""

    @property
    def complete(self) -> bool:
        """Whether every tensor of checkpoint and encoder found its counterpart."""
        return not (self.missing or self.unexpected or self.mismatched)


class EncoderUse(Config):
    """The encoder a transfer started from."""

    label: str
    """Its name in tables."""
    reference: str
    """What was typed: a path, `timm:NAME` or `random:NAME`."""
    method: str
    init_stage: InitStage
    epochs: Count | None
    """Epochs of pretraining; None where the source does not say."""
    architecture: Architecture
    sha256: str | None
    """The sha256 (hex) of the weights; None for random weights, which the seed determines."""
    history: History | None = None
    """Every training that led to it; None in records of earlier versions."""

    @property
    def pretraining_data(self) -> tuple[TrainingData, ...] | None:
        """What it was trained on, stage by stage; None where one stage's data are not known."""
        return None if self.history is None else pretraining_data(self.history)


class TaskUse(Config):
    """The task and its version."""

    name: str
    version: int


class RecipeUse(Config):
    """The recipe as it was run."""

    name: str
    overrides: tuple[str, ...]
    digest: str
    resolved: dict[str, JsonValue]
    placement: tuple[str, ...] = ()
    """Dotted names of the fields that say where or how it was run: they are in `resolved`, but not in `digest`."""
    misfit: str | None = None
    """A mark of a recipe that is for encoders of another stage: `trained by a fine-tuning recipe`."""


class DataUse(Config):
    """The data set as it was found."""

    root: str
    fingerprint: str
    images: Count
    parts: dict[str, str] = Field(default_factory=dict)
    """The sha256 (hex) of what the fingerprint covers beside the files: labels, lists of subsets, further test sets."""
    unreadable: tuple[str, ...] = ()
    """Files that could not be decoded and were skipped."""


class MetricValue(Config):
    """The value of one of the task's metrics: the last epoch's is the score; the best epoch's stands beside it."""

    last: float
    best: float | None = None
    """None where the metric was measured once, at the end: there is nothing to choose from."""
    best_epoch: Count | None = None


class Choice(Config):
    """The classifier of a probe's grid whose score is the run's; it was chosen on held-out training images."""

    member: str
    """Its layers, pooling and learning rate, in words."""
    members: Count
    """The number of classifiers that it was chosen from."""
    held_out_images: Count
    held_out_top1: float
    held_out_loss: float
    why: str


class AddedTestSet(Config):
    """A test set on which a run was scored after it had been completed, by the weights of its last checkpoint."""

    name: str
    overrides: tuple[str, ...]
    """Which say where the test set lies and how it is scored, as they were given."""
    data: DataUse
    scores: dict[str, float]
    """In percent, by the metric's name."""
    reproduced: dict[str, float]
    """The scores on the run's own test set, which were measured again just before: they equal the record's."""
    device: str
    command: tuple[str, ...]
    measured_at: str


class Environment(Config):
    """Where the run happened."""

    python: str
    packages: dict[str, str]
    git_commit: str | None
    device: str
    host: str


class RunRecord(Config):
    """One run, from `started` to its end. Written atomically; `completed` is written last."""

    schema_version: Literal[4] = 4
    run_id: str
    kind: Literal["pretrain", "transfer"]
    status: Status
    task: TaskUse | None = None
    encoder: EncoderUse | None = None
    load_report: LoadReport | None = None
    recipe: RecipeUse
    seed: int
    image_size_px: Count
    data: DataUse
    metrics: dict[str, MetricValue] = Field(default_factory=dict)
    choice: Choice | None = None
    """None where the run trained one classifier, or several of which none was chosen."""
    feature: str | None = None
    """What was taken of a frozen encoder, in words, as "output: class token"; None where the encoder was trained."""
    added_test_sets: tuple[AddedTestSet, ...] = ()
    exported_sha256: str | None = None
    """The sha256 (hex) of the encoder that this run left in `encoder/`."""
    steps: Count = 0
    skipped_steps: tuple[Count, ...] = ()
    """Steps (0-based) whose batch was passed over, as its loss or gradient was not finite."""
    seconds: Amount = 0.0
    """Time at work over all attempts, set-up included."""
    images_per_second: Amount | None = None
    seconds_per_step: Amount | None = None
    """Seconds of one optimiser step, the mean over the whole training; evaluation excluded."""
    flops_per_image: Amount | None = None
    """FLOPs of one forward pass of the trained model on one image or clip; a multiply-add counts as two."""
    training_images: Count | None = None
    """Images or clips that it trained on: those of an epoch, without test or held-out ones."""
    peak_memory_mb: Amount | None = None
    processes: int = Field(default=1, ge=1, le=2**20)
    """The number of processes that worked on it together, one for each device."""
    attempts: Count = 1
    """How often it was started: 1, plus one for every requeue or crash."""
    environment: Environment
    parents: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    error: str | None = None
    started_at: str
    finished_at: str | None = None


NEWEST_SCHEMA = 4
MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {
    1: lambda data: {**data, "schema_version": 2, "processes": 1},
    2: lambda data: {**data, "schema_version": 3},  # seconds_per_step and flops_per_image were not measured
    3: lambda data: {**data, "schema_version": 4, "recipe": _with_placement(data.get("recipe"))},
}
"""By schema version, the function that makes a record of the next version of it."""


PLACEMENT_OF_3 = {
    "": {"activation_checkpointing", "views_at_once", "export_epochs"},
    "data": {
        *("root", "format", "classes", "first_label", "label_field", "image_column", "label_column", "labels"),
        *("accepted", "train_labels", "test_labels", "index_folder", "list", "train_list", "test_list", "decoder"),
    },
    "training": {
        *("accumulate", "device", "workers", "log_every_steps", "tensorboard", "checkpoint_every_steps"),
        *("sharded", "activation_checkpointing", "compile"),
    },
    "inference": {"batch_size", "device", "workers"},
    "testing": {"save_predictions"},
    "target": {"palette", "tokenizer"},
}
"""The placement fields of the recipes of schema version 3, by the recipe's section; later records name their own."""


def _with_placement(recipe: Any) -> Any:
    """Return a recipe of schema version 3 with the names of its placement fields."""
    if not isinstance(recipe, dict) or not isinstance(recipe.get("resolved"), dict):
        return recipe
    resolved: dict[str, Any] = recipe["resolved"]
    found = [name for name in resolved if name in PLACEMENT_OF_3[""]]
    for section in filter(None, PLACEMENT_OF_3):
        found += [name for name in _names(resolved.get(section), section) if _last(name) in PLACEMENT_OF_3[section]]
    return {**recipe, "placement": found}


def _names(value: Any, prefix: str) -> Iterator[str]:
    """Yield the dotted names of the fields of a JSON object, those of nested objects included."""
    for name, inner in value.items() if isinstance(value, dict) else ():
        yield from _names(inner, f"{prefix}.{name}") if isinstance(inner, dict) else [f"{prefix}.{name}"]


def _last(name: str) -> str:
    return name.rpartition(".")[2]


class NewerSchema(ValueError):
    """A record of a schema version that this program does not know yet."""


def parse_record(text: bytes) -> RunRecord:
    """Return a record as it was written by this version or an older one.

    Raises NewerSchema, or pydantic's ValidationError for what is no record.
    """
    try:
        return RunRecord.model_validate_json(text)
    except ValidationError as error:
        data = _json_object(text)
        version = data.get("schema_version")
        if isinstance(version, int) and version > NEWEST_SCHEMA:
            raise NewerSchema(f"version {version}; this mimbench reads up to {NEWEST_SCHEMA}: update it") from None
        if not isinstance(version, int) or version not in MIGRATIONS:
            raise error from None
    while data["schema_version"] in MIGRATIONS:
        data = MIGRATIONS[data["schema_version"]](data)
    return RunRecord.model_validate_json(json.dumps(data))


def _json_object(text: bytes) -> dict[str, Any]:
    try:
        data = pydantic_core.from_json(text)
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}


def now() -> str:
    """Return the time in UTC as ISO 8601, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
