"""RunRecord: what one run was, what came out, and the proof that its encoder was loaded."""

from __future__ import annotations

import datetime
from typing import Literal

from pydantic import Field, JsonValue

from benchmarks.config import Amount, Config, Count
from benchmarks.data.content_sample import ContentSample
from benchmarks.encoders import Architecture, CodeUse, InitStage
from benchmarks.history import History, TrainingData, pretraining_data
from benchmarks.runs.probes import Choice, Draws, FeatureUse

Status = Literal["started", "completed", "failed", "preempted"]


class Resized(Config):
    """One tensor that was loaded after a change of shape."""

    name: str
    from_shape: tuple[int, ...]
    to_shape: tuple[int, ...]
    mode: str


class Parity(Config):
    """An encoder's features compared with those of a witness: another reading of the same weights."""

    against: str
    """What was typed: `timm:NAME`, `hf:FOLDER` or the path of an npz file."""
    library: str
    """What computed the witness's features: `transformers 5.23.0`, or `features.npz`."""
    feature: str
    """What was compared: tokens, patch tokens, class token, ..."""
    difference: Amount
    """The largest difference of two values, divided by the root mean square of the witness's."""
    tolerance: Amount
    images: Count
    image_size_px: Count
    same_file: bool = False
    """Whether the witness read the very same file: then it shows how the file is read, not that it is right."""
    measured_at: str

    def in_words(self) -> str:
        """Return one line for tables: `parity 2e-06 against transformers 5.23.0`."""
        return f"parity {self.difference:.0e} against {self.library}{' on the same file' if self.same_file else ''}"


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
    implausible: tuple[str, ...] = ()
    """What speaks against the weights' having been trained, as `NAME: what is odd`; a run with such weights went on
    only because a person allowed it."""
    parity: Parity | None = None
    """How the features compare with a witness's; None where that was not measured."""

    @property
    def complete(self) -> bool:
        """Whether every tensor of checkpoint and encoder found its counterpart."""
        return not (self.missing or self.unexpected or self.mismatched)


class NormalisationUse(Config):
    """How images are normalised, on a scale from 0 to 1."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    stated_by: str
    """What states it: a file beside the weights, an export, the recipe, ..."""


class Published(Config):
    """A checkpoint of the catalogue: where its file came from, and what of it was verified."""

    name: str
    """As in `mimbench list checkpoints`."""
    address: str
    page: str
    """Where its authors publish it."""
    file_sha256: str
    bytes: Count
    verified: str | None
    """What was found to agree with what its authors publish: `sha256`, or the first digits of a digest; None where they
    publish none."""

    def in_words(self) -> str:
        """Return what was verified, and what could not be."""
        if self.verified is None:
            return f"not verified, since no digest of it is published; its sha256 is {self.file_sha256}"
        return f"verified by {self.verified}"


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
    code: CodeUse | None = None
    """None for an encoder that timm or this program builds."""
    images: NormalisationUse | None = None
    """Its own normalisation, where others wrote its file and that alone does not show it; part of a run's id."""
    published: Published | None = None
    """None for an encoder that is not of the catalogue of published checkpoints."""

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
    beside_digest: tuple[str, ...] | None = None
    """Dotted names of all fields in `resolved` that are not in `digest`; None in records of earlier versions."""
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
    sample: ContentSample | None = None
    """A sample by content of what a pretraining trained on, or of a transfer's test images; None where these are not
    files of their own, and in records of earlier versions."""


class MetricValue(Config):
    """The value of one of the task's metrics: the last epoch's is the score; the best epoch's stands beside it."""

    last: float
    best: float | None = None
    """None where the metric was measured once, at the end: there is nothing to choose from."""
    best_epoch: Count | None = None


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
    normalisation: NormalisationUse | None = None
    """How its images were normalised; None where a model of others was scored with its head, whose recipe says it, and
    in records of earlier versions."""
    test_images: str | None = None
    """How test images were resized and cropped, and what states it, where the recipe leaves that to the encoder."""
    feature: str | None = None
    """What was taken of a frozen encoder, in words, as "output: class token"; None where the encoder was trained."""
    draws: Draws | None = None
    """None where the training images were not drawn several times."""
    features: FeatureUse | None = None
    """None where images were run through the encoder as often as they were seen: it was trained, or they changed."""
    added_test_sets: tuple[AddedTestSet, ...] = ()
    exported_sha256: str | None = None
    """The sha256 (hex) of the encoder that this run left in `encoder/`."""
    steps: Count = 0
    skipped_steps: tuple[Count, ...] = ()
    """Steps (0-based) that changed nothing: their batch was passed over, as its loss or gradient was not finite, or
    their scaled gradients overflowed fp16."""
    seconds: Amount = 0.0
    """Time at work over all attempts, set-up included."""
    images_per_second: Amount | None = None
    seconds_per_step: Amount | None = None
    """Seconds of one optimiser step, the mean over the whole training; evaluation excluded."""
    flops_per_image: Amount | None = None
    """FLOPs of one forward pass of the trained model on one image or clip; a multiply-add counts as two."""
    trained_parameters: Count | None = None
    """How many parameters a transfer changes, heads included; None where it trains nothing, and in earlier records."""
    fast_ways: tuple[str, ...] | None = None
    """The faster ways that training steps took; empty: none, but the plain way; None where there is one way alone."""
    training_images: Count | None = None
    """Images or clips that it trained on: those of an epoch, without test or held-out ones."""
    peak_memory_mb: Amount | None = None
    processes: int = Field(default=1, ge=1, le=2**20)
    """The number of processes that worked on it together, one for each device."""
    attempts: Count = 1
    """How often it was started: 1, plus one for every requeue, crash or rung."""
    environment: Environment
    parents: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    started_in: str | None = None
    """The way from the run's folder to the one in which it was started, such as `../..`: relative paths of this record
    begin there. None where that does not lie above the run's folder, and in records of earlier versions."""
    error: str | None = None
    pruned: str | None = None
    """Why a rung of its sweep ended it before its last step; None where none did, or it went on all the same."""
    started_at: str
    finished_at: str | None = None


NEWEST_SCHEMA = 4


def now() -> str:
    """Return the time in UTC as ISO 8601, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
