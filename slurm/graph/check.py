"""What is wrong with a well-formed pipeline file: every mistake is found before anything starts."""

from __future__ import annotations

import fnmatch
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.catalogue.tasks import TASKS, find_task
from benchmarks.config import Recipe, load_recipe, recipe_names
from benchmarks.encoders import MANIFEST, unknown_architecture
from benchmarks.errors import UserError, did_you_mean, four_parts
from benchmarks.runs.folder import read_record
from pretrain.recipe import PretrainRecipe
from slurm.graph.pipeline import Initial, Measurement, PipelineFile, Source, Work, read_pipeline
from slurm.graph.stages import recipe_name
from slurm.graph.sweep import without_sweeps
from transfer.adapter import adapter_for
from transfer.sources.references import SCHEMES, resolve, scheme_of


def load_pipeline(path: Path, overrides: Sequence[str] = (), ranks: int = 1) -> PipelineFile:
    """Read, override and check a pipeline file whose stages will have `ranks` processes each.

    Raises one UserError that names every mistake.
    """
    file = read_pipeline(path, overrides)
    mistakes = list(find_mistakes(file, ranks))
    if mistakes:
        count = "1 mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
        raise UserError(f"pipeline {path}: {count}\n" + "\n".join(mistakes))
    return file


def find_mistakes(file: PipelineFile, ranks: int = 1) -> Iterator[str]:
    """Yield the mistakes in the order of the file's fields: recipes, overrides, data, references, names."""
    sweeps, file = {f"pretrain.{name}" for name, entry in file.pretrain.items() if entry.sweep}, without_sweeps(file)
    for name, pretrain in file.pretrain.items():
        yield from _work_mistakes(f"pretrain.{name}", pretrain, None, ranks)
    for name, finetune in file.finetune.items():
        yield from _work_mistakes(f"finetune.{name}", finetune, finetune.task, ranks, finetune.encoder)
    for entry, source in file.started_from().items():
        yield from _start_mistakes(file, entry, source, sweeps)
    yield from _cycles(file)
    for name, source in file.encoders.items():
        yield from _source_mistakes(file, f"encoders.{name}", source)
    for name, work in file.tasks.items():
        yield from _task_mistakes(file, name, work, ranks)
    if len(set(file.seeds)) < len(file.seeds):
        yield four_parts("seeds", list(file.seeds), "each seed once", "remove the repetition")
    if file.baseline not in file.encoders:
        rule = "one of this file's encoders"
        yield four_parts("baseline", file.baseline, rule, did_you_mean(file.baseline, file.encoders))


def _start_mistakes(file: PipelineFile, entry: str, source: Source, sweeps: set[str]) -> Iterator[str]:
    """Look at what an entry of `pretrain` or `finetune` starts from."""
    field = start_field(entry)
    if source.from_ in sweeps:
        rule = "one encoder: this is a sweep, which has several"
        yield four_parts(
            f"{field}.from",
            source.from_,
            rule,
            did_you_mean(source.from_, [f"pretrain.{name}" for name in file.pretrain]),
        )
    elif isinstance(source, Initial) and scheme_of(source.ref or "") == "random":
        rule = "an encoder that has weights: without `initial` a pretraining starts from random ones"
        yield four_parts(f"{field}.ref", source.ref, rule, f"remove {field}")
    else:
        yield from _source_mistakes(file, field, source)


def start_field(entry: str) -> str:
    """Return the field that says what `pretrain.NAME` or `finetune.NAME` starts from."""
    return f"{entry}.initial" if entry.startswith("pretrain.") else f"{entry}.encoder"


def _task_mistakes(file: PipelineFile, name: str, work: Measurement, ranks: int) -> Iterator[str]:
    """Look at every recipe by which an entry of `tasks` trains encoders, and at the encoders that it names."""
    for pattern in work.encoders or ():
        if not fnmatch.filter(file.encoders, pattern):
            rule = "an encoder of this file, or a pattern that finds one"
            yield four_parts(f"tasks.{name}.encoders", pattern, rule, did_you_mean(pattern, file.encoders))
    task = file.task(name)
    starts: dict[str, Source | None] = {}
    if task in TASKS:
        starts = {recipe_name(work, task, source): source for source in file.encoders_of(name).values()}
    found = [list(_work_mistakes(f"tasks.{name}", work, task, ranks, start)) for start in starts.values() or [None]]
    yield from dict.fromkeys(itertools.chain.from_iterable(found))


def _work_mistakes(field: str, work: Work, task: str | None, ranks: int, source: Source | None = None) -> Iterator[str]:
    """Load the recipe with its overrides, as the stage will; check its data folder and its batch size."""
    try:
        recipe: Any = load_work(work, task, source).config
    except UserError as error:
        yield f"{field}: {error}"
        return
    root, training = recipe.data.root, getattr(recipe, "training", None)  # some protocols train nothing
    remedy = f"set {field}.data=FOLDER to where the images are"
    if root is None:
        yield four_parts(f"{field}.data", "(not given)", "the folder of the data set", remedy)
    elif not Path(root).is_dir():
        yield four_parts(f"{field}.data", root, "a folder that exists", remedy)
    if training is not None and training.batch_size % ranks:
        rule = f"a multiple of the processes of a stage on this cluster ({ranks})"
        yield four_parts(f"{field}: training.batch_size", training.batch_size, rule, "change one of the two")


def load_work(work: Work, task: str | None, source: Source | None = None) -> Recipe[Any]:
    """Return the recipe that a stage will load, overrides and all; `task` is None for a pretraining.

    Where no recipe is named, that depends on the encoder it starts from; None: one that was trained before.
    """
    if task is None:
        assert work.recipe is not None
        return load_recipe(PretrainRecipe, "pretrain", work.recipe, work.all_overrides)
    found = find_task(task)
    name = (work.recipe or found.recipe) if source is None else recipe_name(work, task, source)
    return load_recipe(adapter_for(found).recipe, "transfer", name, work.all_overrides)


def require_encoder_files(file: PipelineFile) -> None:
    """Open every encoder that the file names by a path. Raises one UserError that names each file that holds none.

    Checkpoints that others trained are read with torch, so this takes seconds and comes after all other checks.
    """
    mistakes: list[str] = []
    named = [(start_field(entry), source) for entry, source in file.started_from().items()]
    named += [(f"encoders.{name}", source) for name, source in file.encoders.items()]
    for field, source in named:
        if source.ref is None or scheme_of(source.ref):
            continue
        try:
            resolve(source.ref, stage=source.stage, architecture=source.architecture)
        except UserError as error:
            mistakes.append(f"{field}.ref: {error}")
    if mistakes:
        raise UserError("\n".join(mistakes))


def _source_mistakes(file: PipelineFile, field: str, source: Source) -> Iterator[str]:
    if source.stage is not None and (own := _own_stage(source)):
        rule = f"left out: {own}"
        yield four_parts(f"{field}.stage", source.stage, rule, f"remove {field}.stage; it is for what others trained")
    if source.architecture is not None and source.from_ is not None:
        rule = f"left out: `from: {source.from_}` is trained here, and its record states the architecture"
        yield four_parts(f"{field}.architecture", source.architecture, rule, f"remove {field}.architecture")
    if source.epoch is not None and (ends := _ends_before(file, source)) is not None:
        rule = f"an epoch of {source.from_}, which ends after {ends}"
        yield four_parts(f"{field}.epoch", source.epoch, rule, "an earlier epoch, or a longer pretraining")
    if source.from_ is not None:
        known = [f"pretrain.{name}" for name in file.pretrain] + [f"finetune.{name}" for name in file.finetune]
        if source.from_ not in known:
            rule = "an entry of pretrain or finetune in this file"
            yield four_parts(f"{field}.from", source.from_, rule, did_you_mean(source.from_, known))
    elif source.ref is not None and not scheme_of(source.ref) and not Path(source.ref).exists():
        schemes = ", ".join(f"{scheme}:NAME" for scheme in SCHEMES)
        rule = f"{schemes}, or the path of a run, an export or a checkpoint that exists"
        scheme, separator, _ = source.ref.partition(":")
        remedy = did_you_mean(scheme, SCHEMES) if separator else "check the path"
        yield four_parts(f"{field}.ref", source.ref, rule, remedy)
    elif source.ref is not None and (unknown := _unknown_model(source.ref)):
        yield f"{field}.ref: {unknown}"


def _ends_before(file: PipelineFile, source: Source) -> int | None:
    """Return the length in epochs of the pretraining that `source.epoch` is not an epoch of; None where it is one."""
    entry = file.pretrain.get((source.from_ or "").removeprefix("pretrain."))
    if entry is None or source.epoch is None:
        return None
    try:
        epochs: int | None = load_work(entry, None).config.training.epochs
    except UserError:  # reported where the pretraining is checked
        return None
    return epochs if epochs is not None and epochs < source.epoch else None


def _own_stage(source: Source) -> str | None:
    """Return why an encoder cannot be given a stage (its own is known); None for encoders that others trained."""
    if source.from_ is not None:
        return f"`from: {source.from_}` is trained here, and its record states the stage"
    assert source.ref is not None
    if scheme_of(source.ref) == "random":
        return f"`ref: {source.ref}` is not trained at all"
    if read_record(Path(source.ref)) is not None or (Path(source.ref) / MANIFEST).is_file():
        return f"`ref: {source.ref}` is a run or an export of mimbench, which states the stage itself"
    return None


def _unknown_model(ref: str) -> str | None:
    """Return why `random:NAME` or `timm:NAME` names no model, else None. Names that timm alone knows take seconds."""
    scheme, _, name = ref.partition(":")
    if scheme not in ("random", "timm") or (scheme == "random" and name in recipe_names("encoders")):
        return None
    import timm

    known = timm.is_model(name) if scheme == "random" else timm.is_model(name) and timm.is_model_pretrained(name)
    return None if known else str(unknown_architecture(name, timm.list_models(pretrained=scheme == "timm")))


def _cycles(file: PipelineFile) -> Iterator[str]:
    """Yield one mistake for each cycle of entries, named from its alphabetically first member."""
    parent_of = {entry: source.from_ for entry, source in file.started_from().items()}
    found: set[frozenset[str]] = set()
    for start in sorted(parent_of):
        chain = [start]
        while (parent := parent_of.get(chain[-1])) is not None and parent not in chain:
            chain.append(parent)
        if parent == start and frozenset(chain) not in found:
            found.add(frozenset(chain))
            remedy = "let one of them start from a `ref`, from another `pretrain` entry, or from random weights"
            shown = " <- ".join([*chain, start])
            yield four_parts(f"{start_field(start)}.from", shown, "a chain without a cycle", remedy)
