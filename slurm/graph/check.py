"""What is wrong with a well-formed pipeline file: every mistake is found before anything starts."""

from __future__ import annotations

import fnmatch
import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.catalogue.tasks import TASKS, find_task
from benchmarks.config import Recipe, load_recipe, recipe_names
from benchmarks.data.remote.paths import RemotePath, data_path
from benchmarks.encoders import MANIFEST, RAW_PIXELS, unknown_architecture
from benchmarks.errors import UserError, did_you_mean, four_parts
from benchmarks.runs.folder import read_record
from pretrain.recipe import PretrainRecipe
from slurm.graph.cluster import Cluster, LocalCluster, SlurmCluster
from slurm.graph.entries import Initial, Source, Work, is_job_id
from slurm.graph.pipeline import PipelineFile, read_pipeline
from slurm.graph.placing import StageWork, fitting_nodes, no_equal_shares, stage_works
from slurm.graph.rungs import rung_mistakes
from slurm.graph.stages import recipe_name
from slurm.graph.sweep import alike, members, seed_mistakes, without_sweeps
from transfer.adapter import adapter_for
from transfer.sources.references import SCHEMES, can_be_built, published_checkpoint, random_architecture, scheme_of

Advise = Callable[[PipelineFile, StageWork, Sequence[int]], int | None]
"""Returns which of several numbers of nodes a stage should have; None where nothing measured says so."""
HERE = LocalCluster(executor="local")


def load_pipeline(
    path: Path,
    overrides: Sequence[str] = (),
    cluster: Cluster = HERE,
    advise: Advise | None = None,
    data_is_here: bool = True,
) -> PipelineFile:
    """Read, override and check a pipeline file for the cluster on which its stages will run.

    Raises one UserError that names every mistake. `advise` chooses among the numbers of nodes that a batch fits, where
    it does not fit what is asked for; without it the smallest is proposed. Unless `data_is_here`, folders of data need
    not exist on this machine.
    """
    file = read_pipeline(path, overrides)
    mistakes = list(find_mistakes(file, cluster, advise, data_is_here))
    if mistakes:
        count = "1 mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
        raise UserError(f"pipeline {path}: {count}\n" + "\n".join(mistakes))
    return file


def find_mistakes(
    file: PipelineFile, cluster: Cluster = HERE, advise: Advise | None = None, data_is_here: bool = True
) -> Iterator[str]:
    """Yield the mistakes: in recipes, overrides, data and resources; then in references and names."""
    yield from alike(file)
    yield from seed_mistakes(file)
    yield from _placed_sweeps(file)
    yield from rung_mistakes(file, lambda entry: load_work(entry, None).config)
    sweeps, file = {f"pretrain.{name}" for name, entry in file.pretrain.items() if entry.sweep}, without_sweeps(file)
    mistakes = [list(_work_mistakes(file, found, cluster, advise, data_is_here)) for found in different_works(file)]
    yield from dict.fromkeys(itertools.chain.from_iterable(mistakes))
    if isinstance(cluster, SlurmCluster) and file.report is not None:
        try:
            cluster.report_allocation(file.report.resources)
        except UserError as error:
            yield str(error)
    yield from _reference_mistakes(file, sweeps)
    for before in file.after:
        if isinstance(cluster, LocalCluster):
            rule = "left out: on this machine nothing is waited for"
            yield four_parts("after", before, rule, "after=[], or --cluster with the file of a Slurm cluster")
        elif Path(before).resolve().name == file.id:
            yield four_parts("after", before, "another pipeline than this one", "remove it")
        elif not is_job_id(before) and not (Path(before) / "manifest.json").is_file():
            rule = "the id of a Slurm job, or the folder of a pipeline that was submitted"
            yield four_parts("after", before, rule, "check the path; `mimbench pipeline list` shows pipelines")


def _placed_sweeps(file: PipelineFile) -> Iterator[str]:
    """Yield a mistake for every field of a task's sweep that says where or how work is done: it makes no other run."""
    for name, entry in file.tasks.items():
        if entry.sweep is None or file.task(name) not in TASKS:
            continue
        _, some = next(members(name, entry))
        try:
            placed = load_work(some, file.task(name)).config.placement_fields()
        except UserError:  # it is shown where the entry itself is checked
            continue
        for field in entry.sweep:
            if any(field == one or field.startswith(f"{one}.") for one in placed):
                rule = "fields that change what is done: this one says where or how, and all its values make one run"
                yield four_parts(f"tasks.{name}.sweep", field, rule, "an entry of its own, or an override")


def _reference_mistakes(file: PipelineFile, sweeps: set[str]) -> Iterator[str]:
    for entry, source in file.started_from().items():
        yield from _start_mistakes(file, entry, source, sweeps)
    yield from _cycles(file)
    for name, source in file.encoders.items():
        yield from _source_mistakes(file, f"encoders.{name}", source)
    labels = {file.label(name): None for name in file.encoders}
    for name, work in file.tasks.items():
        for pattern in work.encoders or ():
            if not fnmatch.filter([*file.encoders, *labels], pattern):
                rule = "an encoder of this file, or a pattern that finds one"
                yield four_parts(f"tasks.{name}.encoders", pattern, rule, did_you_mean(pattern, file.encoders))
    if len(set(file.seeds)) < len(file.seeds):
        yield four_parts("seeds", list(file.seeds), "each seed once", "remove the repetition")
    if file.baseline not in labels:
        rule = "one of this file's encoders"
        yield four_parts("baseline", file.baseline, rule, did_you_mean(file.baseline, labels))


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


def different_works(file: PipelineFile) -> list[StageWork]:
    """Return the first work of each entry of the file; where its recipe depends on the encoder, of each recipe."""
    works = {(found.field, _recipe_of(found)): found for found in reversed(list(stage_works(file)))}
    return [*reversed(works.values())]


def _recipe_of(found: StageWork) -> str | None:
    """Return the name of a work's recipe; None where none is named and its task or its encoder does not exist."""
    if found.source is None or found.kind not in TASKS:
        return found.work.recipe
    try:
        return recipe_name(found.work, found.kind, found.source)
    except UserError:  # a file of an architecture: shown where the encoder is checked
        return found.work.recipe


def _writes_its_own(found: StageWork) -> bool:
    """Tell whether an entry names no folder and its data set is an embedded one, which its first stage writes."""
    return found.work.data is None and found.task is not None and find_task(found.task).writer is not None


def _work_mistakes(
    file: PipelineFile, found: StageWork, cluster: Cluster, advise: Advise | None, data_is_here: bool
) -> Iterator[str]:
    """Load the recipe with its overrides, as the stage will; check its data folder and its share of the batch."""
    try:
        placed = cluster.allocation(found.work.resources, found.resources_field)
    except UserError as error:
        placed = None
        yield str(error)
    try:
        recipe: Any = load_work(found.work, found.task, found.source).config
    except UserError as error:
        yield f"{found.field}: {error}"
        return
    root, training = recipe.data.root, getattr(recipe, "training", None)  # some protocols train nothing
    remedy = f"set {found.field}.data=FOLDER to where the images are"
    if root is None:
        yield four_parts(f"{found.field}.data", "(not given)", "the folder of the data set", remedy)
    elif data_is_here and not _writes_its_own(found) and not _is_there(root):
        yield four_parts(f"{found.field}.data", root, "a folder that exists", remedy)
    if training is None or placed is None or not training.batch_size % (placed.ranks_per_stage * training.accumulate):
        return
    if isinstance(placed, LocalCluster):
        passes = f" x training.accumulate ({training.accumulate})" if training.accumulate > 1 else ""
        rule = f"a multiple of the processes of a stage on this cluster ({placed.ranks_per_stage}){passes}"
        yield four_parts(f"{found.field}: training.batch_size", training.batch_size, rule, "change one of the two")
    else:
        fits = fitting_nodes(training.batch_size, training.accumulate, placed.ranks_per_node)
        best = advise(file, found, fits) if advise is not None and fits else None
        yield no_equal_shares(found, placed, training, fits, best)


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


def _source_mistakes(file: PipelineFile, field: str, source: Source) -> Iterator[str]:
    for name in ("stage", "pretrained_on", "weights", "prefix"):
        stated = getattr(source, name)
        if stated is not None and (own := _own_statement(source)):
            rule = f"left out: {own}"
            yield four_parts(f"{field}.{name}", stated, rule, f"remove {field}.{name}; it is for what others trained")
    if (source.ref or "").startswith("python:") and source.stage is None and source.ref != RAW_PIXELS:
        rule = "stated of one's own code, as nothing else shows how far its encoder was trained"
        yield four_parts(f"{field}.stage", "(not given)", rule, f"add {field}.stage")
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


def _own_statement(source: Source) -> str | None:
    """Return why nothing can be stated of an encoder (its record does); None for encoders that others trained."""
    if source.from_ is not None:
        return f"`from: {source.from_}` is trained here, and its record states it"
    assert source.ref is not None
    if scheme_of(source.ref) == "random":
        return f"`ref: {source.ref}` is not trained at all"
    if read_record(Path(source.ref)) is not None or (Path(source.ref) / MANIFEST).is_file():
        return f"`ref: {source.ref}` is a run or an export of mimbench, which states it"
    return None


def _unknown_model(ref: str) -> str | None:
    """Return why `random:NAME`, `timm:NAME` or `mae:NAME` names no model, else None; NAME may be a YAML file.

    Names that timm alone knows take seconds.
    """
    scheme, _, name = ref.partition(":")
    try:
        published_checkpoint(ref)
        random = random_architecture(ref)
    except UserError as error:
        return str(error)
    if scheme not in ("random", "timm") or (scheme == "random" and name in recipe_names("encoders")):
        return None
    import timm

    name = name if random is None else random.name
    known = timm.is_model(name) and timm.is_model_pretrained(name) if random is None else can_be_built(name)
    return None if known else str(unknown_architecture(name, timm.list_models(pretrained=random is None)))


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


def _is_there(root: str) -> bool:
    """Tell whether a folder is there; one that lies elsewhere is taken to be."""
    path = data_path(root)
    return isinstance(path, RemotePath) or path.is_dir()
