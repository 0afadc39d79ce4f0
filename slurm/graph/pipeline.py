"""A pipeline file: which encoders are compared on which tasks. All of it is checked before anything starts."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, JsonValue, field_validator, model_validator

from benchmarks.config import Config, apply_overrides, digest_of, validate
from benchmarks.encoders import TrainedStage
from benchmarks.errors import UserError
from benchmarks.files.yaml_files import read_yaml, to_yaml
from benchmarks.training import Count
from slurm.graph.resources import Asked, Name
from slurm.graph.shipped import find_pipeline_file

Sweep = Annotated[dict[str, Annotated[tuple[JsonValue, ...], Field(min_length=1)]], Field(min_length=1)]
Between = Annotated[float, Field(gt=0, lt=1)]
"""A share that is neither nothing nor all."""
MOST_COMBINATIONS = 1000
"""The most combinations of one sweep; each is a pretraining, or a recipe that encoders are measured by."""
MOST_STAGES = 100_000
"""The most stages of one pipeline, every sweep written out."""


class Source(Config):
    """Where an encoder comes from: an earlier entry of this file, or a reference that the transfer verb knows."""

    from_: str | None = Field(default=None, alias="from")
    """`pretrain.NAME` or `finetune.NAME`."""
    ref: str | None = None
    """`timm:NAME`, `hf-hub:NAME`, `random:NAME`, or the path of a run, an exported encoder or a checkpoint."""
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
    seed: int = 0
    seeds: Annotated[tuple[int, ...], Field(min_length=1)] | None = None
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
    seed: int = 0


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


def _text_of_number(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def is_job_id(text: str) -> bool:
    """Tell a job of Slurm, `17` or of an array `17_2`, from the folder of a pipeline."""
    return re.fullmatch(r"[0-9]+(_[0-9]+)?", text) is not None


class PipelineFile(Config):
    """Encoders x tasks x seeds, and what must be trained first."""

    name: Name
    pretrain: dict[Name, Pretrain] = Field(default_factory=dict)
    finetune: dict[Name, Finetune] = Field(default_factory=dict)
    encoders: dict[Name, Compared] = Field(min_length=1)
    tasks: dict[Name, Measurement] = Field(min_length=1)
    """Names of the catalogue, or names of your own with a `task`; a plain list takes every task's own recipe."""
    seeds: tuple[int, ...] = Field(default=(0, 1, 2), min_length=1)
    baseline: str
    """The encoder that the others are compared with."""
    report: Report | None = None
    after: tuple[Annotated[str, BeforeValidator(_text_of_number)], ...] = ()
    """Jobs of Slurm by id, and pipelines by folder, that must end well before anything of this pipeline starts. It says
    when the work is done, not what, and is no part of an id."""
    notify: str | None = None
    """A shell command that is run when a stage has failed and when the pipeline has ended; no part of an id either."""

    @model_validator(mode="after")
    def _bounded(self) -> PipelineFile:
        """Count the stages before any sweep is written out."""
        combinations = {f"pretrain.{name}": entry.combinations for name, entry in self.pretrain.items()}
        first = [*combinations, *(f"finetune.{name}" for name in self.finetune)]
        trained = {name: combinations.get(name, 1) * max(1, len(self.seeds_before(name))) for name in first}
        encoders = sum(trained.get(source.from_ or "", 1) for source in self.encoders.values())
        tasks = sum(entry.combinations for entry in self.tasks.values())
        count = encoders * tasks * len(self.seeds)
        for name in first:
            section, _, entry = name.partition(".")
            parts = self.pretrain[entry].stages if section == "pretrain" else 1
            count += parts * max(1, len(self.seeds_before(name)))
        if count > MOST_STAGES:
            raise ValueError(f"at most {MOST_STAGES:,} stages: encoders x tasks x seeds and sweeps make {count:,}")
        return self

    def task(self, name: str) -> str:
        """Return what an entry of `tasks` is called in the catalogue."""
        return self.tasks[name].task or name

    def label(self, encoder: str) -> str:
        """Return what an encoder is called in tables."""
        return self.encoders[encoder].label or encoder

    def encoders_of(self, task: str) -> dict[str, Compared]:
        """Return the encoders that an entry of `tasks` measures, by name."""
        patterns = self.tasks[task].encoders
        if patterns is None:
            return self.encoders
        return {
            name: each
            for name, each in self.encoders.items()
            if any(fnmatchcase(known, one) for one in patterns for known in (name, self.label(name)))
        }

    def seeds_before(self, entry: str) -> tuple[int, ...]:
        """Return the seeds with which `pretrain.NAME` or `finetune.NAME` is there: its own, or those of what it starts
        from; none where no entry before it has several."""
        starts, seen = self.started_from(), {entry}
        while True:
            section, _, name = entry.partition(".")
            own = self.pretrain[name].seeds if section == "pretrain" and name in self.pretrain else None
            before = starts[entry].from_ if entry in starts else None
            if own is not None or before is None or before in seen:
                return own or ()
            entry = before
            seen.add(entry)

    def export_epochs(self, pretraining: str) -> list[int]:
        """Return after which epochs a pretraining's encoder is wanted, besides at its end."""
        sources = [*self.encoders.values(), *self.started_from().values()]
        wanted = {source.epoch for source in sources if source.from_ == f"pretrain.{pretraining}"}
        return sorted(epoch for epoch in wanted if epoch is not None)

    def started_from(self) -> dict[str, Source]:
        """Return what each entry of `pretrain` and `finetune` starts from, by `pretrain.NAME` and `finetune.NAME`.

        Pretrainings that start from random weights are left out.
        """
        found: dict[str, Source] = {
            f"pretrain.{name}": each.initial for name, each in self.pretrain.items() if each.initial is not None
        }
        return {**found, **{f"finetune.{name}": each.encoder for name, each in self.finetune.items()}}

    def resolved(self) -> dict[str, Any]:
        """Return the file as JSON-like data, without the fields that are null."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)

    @property
    def id(self) -> str:
        """The file's name and the beginning of its content's digest: equal ids mean the same stages."""
        entries = {section: {"__all__": {"resources"}} for section in ("pretrain", "finetune", "tasks")}
        what = self.model_dump(
            mode="json",
            by_alias=True,
            exclude_none=True,
            exclude={**entries, "report": True, "after": True, "notify": True},
        )
        return f"{self.name}-{digest_of(what)[:8]}"

    def to_yaml(self) -> str:
        """Return the resolved file; the text can be submitted again and has the same id."""
        return to_yaml(self.resolved())


def _combinations(sweep: Sweep | None) -> int:
    return math.prod(map(len, (sweep or {}).values()))


def read_pipeline(path: Path, overrides: Sequence[str] = ()) -> PipelineFile:
    """Read, override and validate a pipeline file's form; `load_pipeline` also checks what it names."""
    path = find_pipeline_file(path)
    where = f"pipeline {path}"
    data = apply_overrides(_tasks_as_mapping(read_yaml(path)), overrides)
    return validate(PipelineFile, _tasks_as_mapping(data), where, overrides)


def _tasks_as_mapping(data: dict[str, Any]) -> dict[str, Any]:
    tasks = data.get("tasks")
    if not isinstance(tasks, list):
        return data
    names = [str(task) for task in tasks]
    if len(set(names)) < len(names):
        raise UserError.about("tasks", names, "each task once", "remove the repetition")
    return {**data, "tasks": {name: {} for name in names}}
