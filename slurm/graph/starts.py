"""What is said before anything starts of recipes that are for encoders of other stages than those they are given."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.catalogue.starts import misfit_in_words
from benchmarks.catalogue.tasks import find_task
from benchmarks.encoders import InitStage, misfit
from slurm.graph.check import load_work
from slurm.graph.entries import Source
from slurm.graph.pipeline import PipelineFile
from slurm.graph.placing import stage_works
from slurm.graph.sweep import without_sweeps
from transfer.sources.references import random_architecture, scheme_of


def misfits(file: PipelineFile) -> Iterator[str]:
    """Yield a warning for every training of a checked file whose recipe is for other encoders, each once.

    Nothing is said of encoders whose stage is known only when their file is opened: the transfer itself will say it.
    """
    file = without_sweeps(file)
    for found in stage_works(file):
        if (source := found.source) is None or (start := _stage(file, source)) is None:
            continue
        recipe = load_work(found.work, found.task, source)
        if (mark := misfit(recipe.config.starts_from, start)) is not None:
            reference, random = source.ref or source.from_ or "", random_architecture(source.ref or "")
            yield f"{found.name}: {misfit_in_words(find_task(found.kind), recipe.name, reference, mark, random)}"


def _stage(file: PipelineFile, source: Source) -> InitStage | None:
    """Return how far an encoder was trained; None where only its file says it."""
    section, _, name = (source.from_ or "").partition(".")
    if section == "pretrain":  # labels that went into what it continues are in its encoder still
        initial = file.pretrain[name].initial
        return "self-supervised" if initial is None else _stage(file, initial)
    if section == "finetune":
        return "supervised" if _stage(file, file.finetune[name].encoder) == "random" else "fine-tuned"
    return "random" if scheme_of(source.ref or "") == "random" else source.stage
