"""A pipeline file: which encoders are compared on which tasks. All of it is checked before anything starts."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from benchmarks.catalogue.suites import TASKS_OF
from benchmarks.config import Config, apply_overrides, digest_of, validate
from benchmarks.errors import UserError
from benchmarks.files.yaml_files import read_yaml, to_yaml
from benchmarks.training.numbers import Seed
from slurm.graph.entries import Compared, Finetune, Measurement, Pretrain, Report, Source
from slurm.graph.resources import Name
from slurm.graph.shipped import find_pipeline_file

MOST_STAGES = 100_000
"""The most stages of one pipeline, every sweep written out."""


def _text_of_number(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


class PipelineFile(Config):
    """Encoders x tasks x seeds, and what must be trained first."""

    name: Name
    pretrain: dict[Name, Pretrain] = Field(default_factory=dict)
    finetune: dict[Name, Finetune] = Field(default_factory=dict)
    encoders: dict[Name, Compared] = Field(min_length=1)
    tasks: dict[Name, Measurement] = Field(min_length=1)
    """Names of the catalogue, or names of your own with a `task`; a plain list takes every task's own recipe. A suite
    stands for all of its tasks, whose data lie below its `data` in folders of their names."""
    seeds: tuple[Seed, ...] = Field(default=(0, 1, 2), min_length=1)
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


def read_pipeline(path: Path, overrides: Sequence[str] = ()) -> PipelineFile:
    """Read, override and validate a pipeline file's form; `load_pipeline` also checks what it names."""
    path = find_pipeline_file(path)
    where = f"pipeline {path}"
    data = apply_overrides(_tasks_as_mapping(read_yaml(path)), overrides)
    return validate(PipelineFile, _without_suites(_tasks_as_mapping(data)), where, overrides)


def _tasks_as_mapping(data: dict[str, Any]) -> dict[str, Any]:
    tasks = data.get("tasks")
    if not isinstance(tasks, list):
        return data
    names = [str(task) for task in tasks]
    if len(set(names)) < len(names):
        raise UserError.about("tasks", names, "each task once", "remove the repetition")
    return {**data, "tasks": {name: {} for name in names}}


def _without_suites(data: dict[str, Any]) -> dict[str, Any]:
    """Return the file with an entry for each data set of a suite in `tasks`; its folder is that below the suite's.

    An entry of its own, under the name that the data set has then, holds above the suite's. What the suite's says of a
    recipe does not reach a data set that has a recipe of its own.
    """
    tasks = data.get("tasks")
    if not isinstance(tasks, dict):
        return data
    found: dict[str, Any] = {}
    for name, entry in tasks.items():
        suite = entry.get("task", name) if isinstance(entry, dict) else name
        if not isinstance(entry, dict) or suite not in TASKS_OF:
            found[name] = entry
            continue
        for part in TASKS_OF[suite]:
            own = part.name if name == suite else f"{name}-{part.name}"
            if own in tasks:
                continue
            below = {"data": f"{entry['data']}/{part.name}"} if isinstance(entry.get("data"), str) else {}
            found[own] = {**entry, "task": part.name, **below}
            if part.own_recipe is not None:
                found[own] = {key: each for key, each in found[own].items() if key not in ("recipe", "overrides")}
    return {**data, "tasks": found}
