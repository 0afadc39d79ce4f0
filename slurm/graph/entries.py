"""The entries of a pipeline file: what is pretrained, fine-tuned, compared and measured, each checked by itself."""

from __future__ import annotations

import json
import math
import re
from typing import Annotated

from pydantic import Field, JsonValue, field_validator, model_validator

from benchmarks.config import Config
from benchmarks.encoders import TrainedStage
from benchmarks.training.numbers import Count, Seed
from slurm.graph.resources import Asked

Sweep = Annotated[dict[str, Annotated[tuple[JsonValue, ...], Field(min_length=1)]], Field(min_length=1)]
Between = Annotated[float, Field(gt=0, lt=1)]
"""A share that is neither nothing nor all."""
MOST_COMBINATIONS = 1000
"""The most combinations of one sweep; each is a pretraining, or a recipe that encoders are measured by."""


class Source(Config):
    """Where an encoder comes from: an earlier entry of this file, or a reference that the transfer verb knows."""

    from_: str | None = Field(default=None, alias="from")
    """`pretrain.NAME` or `finetune.NAME`."""
    ref: str | None = None
    """`timm:NAME`, `hf-hub:NAME`, `random:NAME` or `random:FILE.yaml`, a name of `mimbench list checkpoints`, or the
    path of a run, an exported encoder or a checkpoint."""
    stage: TrainedStage | None = None
    """How far the encoder that `ref` names was trained, where its file or tag does not say."""
    pretrained_on: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    """The data set on which others trained the encoder that `ref` names, where its name does not say so."""
    architecture: str | None = None
    """The architecture of `ref`, where its tensors leave it open: `--architecture` of `mimbench transfer`."""
    weights: str | None = None
    """Which of the sets of weights in `ref` is meant, as `model_ema`; null: the one that its authors evaluate."""
    prefix: str | None = None
    """What the encoder's names in `ref` begin with, where it holds several encoders."""
    allow_implausible_weights: bool | None = None
    """Go on with weights of `ref` that are constant, not finite, or as a fresh initialisation makes them."""
    epoch: Count | None = None
    """With `from: pretrain.NAME`: take the encoder after so many epochs instead of the last."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Source:
        if (self.from_ is None) == (self.ref is None):
            raise ValueError("exactly one of `from` and `ref`")
        if self.epoch is not None and not (self.from_ or "").startswith("pretrain."):
            raise ValueError("`epoch` only with `from: pretrain.NAME`")
        return self


class Compared(Source):
    """An encoder of the comparison."""

    label: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    """Its name in tables, where that is not the entry's: encoders of one label that were trained alike, with different
    seeds, are one row."""


class Initial(Source):
    """The encoder that a pretraining starts from."""

    head: bool = False
    """Take the mask token and the head of that pretraining, as they were at its end, as well."""

    @model_validator(mode="after")
    def _head_of_the_last_epoch(self) -> Initial:
        if self.head and (self.epoch is not None or (self.from_ or "").startswith("finetune.")):
            raise ValueError("`head` only of a pretraining, and without `epoch`: only the last epoch's head is kept")
        return self


class Work(Config):
    """A recipe, its data and its overrides."""

    recipe: str | None = None
    data: str | None = None
    """The folder of the data set; it becomes the override `data.root=...`."""
    overrides: tuple[str, ...] = ()
    resources: Asked | None = None
    """What its stages ask Slurm for, above the cluster file's defaults: a profile's name, fields, or both. It says
    where the work is done, not what, and is no part of an id."""

    @property
    def all_overrides(self) -> tuple[str, ...]:
        """The overrides, with `data` as one of them."""
        return (*self.overrides, *([f"data.root={self.data}"] if self.data is not None else []))


class Swept(Work):
    """Work that may stand for several of its kind."""

    sweep: Sweep | None = None
    """Fields of the recipe, each with the values it takes; there is one entry for each combination."""

    @field_validator("sweep")
    @classmethod
    def _each_value_once(cls, sweep: Sweep | None) -> Sweep | None:
        for field, values in (sweep or {}).items():
            if len({json.dumps(value, sort_keys=True) for value in values}) < len(values):
                raise ValueError(f"each value of {field} once")
        if (count := _combinations(sweep)) > MOST_COMBINATIONS:
            raise ValueError(f"at most {MOST_COMBINATIONS:,} combinations: sweep asks for {count:,}")
        return sweep

    @property
    def combinations(self) -> int:
        """How many entries this one stands for."""
        return _combinations(self.sweep)


class Pretrain(Swept):
    """An encoder to pretrain."""

    recipe: str
    initial: Initial | None = None
    """The encoder to continue from; null: random weights."""
    seed: Seed = 0
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)] | None = None
    """Pretrain once with each of these seeds instead; whatever starts from this entry is there once for each, too."""
    rungs: Annotated[tuple[Between, ...], Field(min_length=1)] | None = None
    """Of a sweep: shares of the training at which its members are compared by their loss on held-out images."""
    keep: Between | None = None
    """The share of the members that goes on after each rung, at least one; the others end there."""

    @model_validator(mode="after")
    def _rungs_of_a_sweep(self) -> Pretrain:
        if (self.rungs is None) != (self.keep is None):
            raise ValueError("`rungs` and `keep` together: where members are compared, and the share that goes on")
        if self.rungs is None:
            return self
        if self.sweep is None:
            raise ValueError("`rungs` and `keep` only with `sweep`: one pretraining has none to be compared with")
        if list(self.rungs) != sorted(set(self.rungs)):
            raise ValueError(f"`rungs` in ascending order, each once: {list(self.rungs)}")
        return self

    @property
    def stages(self) -> int:
        """How many stages it becomes: each member's parts between rungs, and the rungs."""
        rungs = len(self.rungs or ())
        return self.combinations * (rungs + 1) + rungs


class Finetune(Work):
    """An encoder to train on a task before the comparison: a supervised baseline, or one step of a chain."""

    encoder: Source
    task: str
    """A task of the catalogue; where no `recipe` is named, the task's own is used."""
    seed: Seed = 0


class Measurement(Swept):
    """A task that every encoder is measured on."""

    task: str | None = None
    """The task's name in the catalogue, where the entry has another: a task with two recipes has two entries."""
    encoders: tuple[Annotated[str, Field(min_length=1)], ...] | None = None
    """The encoders that are measured by this entry: names, or patterns such as `*-encoder=swinv2_*`; null: all."""


class Report(Config):
    """The comparison at the end."""

    resources: Asked | None = None
    """What it asks Slurm for, above the cluster file's `report`."""


def is_job_id(text: str) -> bool:
    """Tell a job of Slurm, `17` or of an array `17_2`, from the folder of a pipeline."""
    return re.fullmatch(r"[0-9]+(_[0-9]+)?", text) is not None


def _combinations(sweep: Sweep | None) -> int:
    return math.prod(map(len, (sweep or {}).values()))
