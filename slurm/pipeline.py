"""A pipeline file: which encoders are compared on which tasks. Checked whole before anything starts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field, model_validator

from benchmarks.config import Config, apply_overrides, digest_of, find_recipe, read_yaml, validate
from benchmarks.errors import UserError, did_you_mean, four_parts
from benchmarks.tasks import find_task

# Names become parts of file names, of job names and of `a.b=c` overrides.
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]


class Source(Config):
    """Where an encoder comes from: an earlier entry of this file, or a reference that the transfer verb knows."""

    from_: str | None = Field(default=None, alias="from")
    """`pretrain.NAME` or `finetune.NAME`."""
    ref: str | None = None
    """`timm:NAME`, `random:NAME`, or the path of a run or of an exported encoder."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Source:
        if (self.from_ is None) == (self.ref is None):
            raise ValueError("exactly one of `from` and `ref`")
        return self


class Work(Config):
    """A recipe, its data and its overrides."""

    recipe: str | None = None
    data: str | None = None
    """Becomes the override `data.root=...`."""
    overrides: tuple[str, ...] = ()

    @property
    def all_overrides(self) -> tuple[str, ...]:
        return (*self.overrides, *([f"data.root={self.data}"] if self.data is not None else []))


class Pretrain(Work):
    """An encoder to pretrain."""

    recipe: str
    seed: int = 0


class Finetune(Work):
    """An encoder to train on a task before the comparison: a supervised baseline, a link of a chain."""

    encoder: Source
    task: str
    """Its recipe is the task's own where none is named."""
    seed: int = 0


class PipelineFile(Config):
    """Encoders x tasks x seeds, and what must be trained first."""

    name: Name
    pretrain: dict[Name, Pretrain] = Field(default_factory=dict)
    finetune: dict[Name, Finetune] = Field(default_factory=dict)
    encoders: dict[Name, Source] = Field(min_length=1)
    tasks: dict[Name, Work] = Field(min_length=1)
    """Names of the catalogue; a plain list takes every task's own recipe."""
    seeds: tuple[int, ...] = Field(default=(0, 1, 2), min_length=1)
    baseline: str
    """The encoder that the others are compared with."""

    def resolved(self) -> dict[str, Any]:
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)

    @property
    def id(self) -> str:
        return f"{self.name}-{digest_of(self.resolved())[:8]}"

    def to_yaml(self) -> str:
        """Return the resolved file; the text can be submitted again and has the same id."""
        return yaml.safe_dump(self.resolved(), sort_keys=False)


def load_pipeline(path: Path, overrides: Sequence[str] = ()) -> PipelineFile:
    """Read, override and check a pipeline file. Raises one UserError that names every mistake."""
    if not path.is_file():
        rule = "a pipeline file that exists"
        raise UserError.about("pipeline", str(path), rule, "check the path; README.md shows the shortest one")
    where = f"pipeline {path}"
    data = apply_overrides(_tasks_as_mapping(read_yaml(path)), overrides)
    file = validate(PipelineFile, _tasks_as_mapping(data), where, overrides)
    mistakes = list(find_mistakes(file))
    if mistakes:
        count = "1 mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
        raise UserError(f"{where}: {count}\n" + "\n".join(mistakes))
    return file


def _tasks_as_mapping(data: dict[str, Any]) -> dict[str, Any]:
    tasks = data.get("tasks")
    if not isinstance(tasks, list):
        return data
    if repeated := _repeated(tasks):
        raise UserError.about("tasks", repeated, "each task once", "remove the repetition")
    return {**data, "tasks": {str(name): {} for name in tasks}}


def find_mistakes(file: PipelineFile) -> Iterator[str]:
    """Yield what is wrong with a well-formed file, in the order of its fields: names, references, recipes, data."""
    for name, pretrain in file.pretrain.items():
        yield from _work_mistakes(f"pretrain.{name}", "pretrain", pretrain)
    for name, finetune in file.finetune.items():
        yield from _work_mistakes(f"finetune.{name}", "transfer", finetune, finetune.task)
        yield from _source_mistakes(file, f"finetune.{name}.encoder", finetune.encoder)
    yield from _cycles(file)
    for name, source in file.encoders.items():
        yield from _source_mistakes(file, f"encoders.{name}", source)
    for task, work in file.tasks.items():
        yield from _work_mistakes(f"tasks.{task}", "transfer", work, task)
    if repeated := _repeated(file.seeds):
        yield four_parts("seeds", list(file.seeds), f"each seed once ({repeated} is repeated)", "remove the repetition")
    if file.baseline not in file.encoders:
        yield four_parts(
            "baseline", file.baseline, "one of this file's encoders", did_you_mean(file.baseline, file.encoders)
        )


def _repeated(values: Sequence[Any]) -> str:
    return ", ".join(sorted({str(value) for value in values if values.count(value) > 1}))


def _work_mistakes(field: str, folder: str, work: Work, task: str | None = None) -> Iterator[str]:
    if task is not None and (mistake := _mistake(f"{field} (task)", lambda: find_task(task))):
        yield mistake
        return
    recipe = work.recipe if work.recipe is not None or task is None else find_task(task).recipe
    assert recipe is not None
    checks: dict[str, Callable[[], object]] = {
        f"{field}.recipe": lambda: find_recipe(folder, recipe),
        f"{field}.overrides": lambda: _data_root(folder, recipe, work),
    }
    for place, check in checks.items():
        if mistake := _mistake(place, check):
            yield mistake
            return
    root = _data_root(folder, recipe, work)
    if root is not None and not Path(root).is_dir():
        remedy = f"set {field}.data=FOLDER to where the images are"
        yield four_parts(f"{field}.data", root, "a folder that exists", remedy)


def _data_root(folder: str, recipe: str, work: Work) -> str | None:
    """Return the data folder a stage will read, or None where the recipe leaves it to its schema."""
    data = apply_overrides(read_yaml(find_recipe(folder, recipe)), work.all_overrides).get("data")
    root = data.get("root") if isinstance(data, dict) else None
    return None if root is None else str(root)


def _source_mistakes(file: PipelineFile, field: str, source: Source) -> Iterator[str]:
    if source.from_ is not None:
        known = [f"pretrain.{name}" for name in file.pretrain] + [f"finetune.{name}" for name in file.finetune]
        if source.from_ not in known:
            rule = "an entry of pretrain or finetune in this file"
            yield four_parts(f"{field}.from", source.from_, rule, did_you_mean(source.from_, known))
    elif source.ref is not None and not source.ref.startswith(("timm:", "random:")) and not Path(source.ref).exists():
        rule = "timm:NAME, random:NAME, or the path of a run or an exported encoder that exists"
        remedy = "check the path"
        if ":" in source.ref:
            kind, _, name = source.ref.partition(":")
            remedy = did_you_mean(kind, ("timm", "random")) + f"; for example random:{name}"
        yield four_parts(f"{field}.ref", source.ref, rule, remedy)


def _cycles(file: PipelineFile) -> Iterator[str]:
    """Yield one mistake for each ring of finetune entries, named from its alphabetically first member."""
    next_of = {f"finetune.{name}": entry.encoder.from_ for name, entry in file.finetune.items()}
    found: set[frozenset[str]] = set()
    for start in sorted(next_of):
        chain: list[str] = [start]
        while (following := next_of.get(chain[-1])) is not None and following not in chain:
            chain.append(following)
        if following == start and frozenset(chain) not in found:
            found.add(frozenset(chain))
            ring = " <- ".join([*chain, start])
            remedy = "let one of them start from a `pretrain` entry or a `ref`"
            yield four_parts(f"{start}.encoder.from", ring, "a chain that begins somewhere", remedy)


def _mistake(field: str, check: Callable[[], object]) -> str | None:
    """Return what `check` complains about, named by its place in the file; None when it does not."""
    try:
        check()
    except UserError as error:
        return f"{field} ={str(error).partition('=')[2]}"
    return None
