"""What is said before anything starts of recipes that are for encoders of other stages than those they are given."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.catalogue.starts import misfit_in_words
from benchmarks.catalogue.tasks import find_task
from benchmarks.encoders import InitStage, misfit
from slurm.graph.check import load_work
from slurm.graph.pipeline import PipelineFile, Source, Work
from slurm.graph.sweep import without_sweeps
from transfer.sources.references import random_architecture, scheme_of


def misfits(file: PipelineFile) -> Iterator[str]:
    """Yield a warning for every training of a checked file whose recipe is for other encoders, each once.

    Nothing is said of encoders whose stage is known only when their file is opened: the transfer itself will say it.
    """
    file = without_sweeps(file)
    works: list[tuple[str, str, Work, Source]] = []
    works += [(f"finetune.{name}", each.task, each, each.encoder) for name, each in file.finetune.items()]
    for name, entry in file.tasks.items():
        works += [(f"{name}.{label}", file.task(name), entry, each) for label, each in file.encoders_of(name).items()]
    for stage, task, work, source in works:
        start, recipe = _stage(file, source), load_work(work, task, source)
        mark = misfit(recipe.config.starts_from, start) if start is not None else None
        if mark is not None:
            reference, random = source.ref or source.from_ or "", random_architecture(source.ref or "")
            yield f"{stage}: {misfit_in_words(find_task(task), recipe.name, reference, mark, random)}"


def _stage(file: PipelineFile, source: Source) -> InitStage | None:
    """Return how far an encoder was trained; None where only its file says it."""
    section, _, name = (source.from_ or "").partition(".")
    if section == "pretrain":  # labels that went into what it continues are in its encoder still
        initial = file.pretrain[name].initial
        return "self-supervised" if initial is None else _stage(file, initial)
    if section == "finetune":
        return "supervised" if _stage(file, file.finetune[name].encoder) == "random" else "fine-tuned"
    return "random" if scheme_of(source.ref or "") == "random" else source.stage
