"""What is said, before anything starts, of the encoders from which trainings start: their files, and their stages."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.catalogue.starts import misfit_in_words
from benchmarks.catalogue.tasks import find_task
from benchmarks.encoders import InitStage, misfit
from benchmarks.errors import UserError, four_parts
from benchmarks.verbs.statement import EncoderStatement
from slurm.graph.check import load_work, start_field
from slurm.graph.entries import Source
from slurm.graph.pipeline import PipelineFile
from slurm.graph.placing import stage_works
from slurm.graph.sweep import without_sweeps
from transfer.sources.references import (
    SCHEMES,
    published_checkpoint,
    random_architecture,
    resolve,
    scheme_of,
)
from transfer.sources.source import Source as Encoder


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
    if scheme_of(source.ref or "") == "random":
        return "random"
    published = published_checkpoint(source.ref or "")
    return source.stage or (published.stage if published else None)


def require_encoder_files(file: PipelineFile) -> None:
    """Open every encoder that the file names by a path, or of the catalogue, which is fetched before a stage needs it.

    Raises one UserError that names each file that holds none, or one whose weights no training leaves behind, unless
    those are allowed; WorkFailed where one of the catalogue cannot be fetched.

    Checkpoints that others trained are read with torch, so this takes seconds and comes after all other checks.
    """
    mistakes: list[str] = []
    named = [(start_field(entry), source) for entry, source in file.started_from().items()]
    named += [(f"encoders.{name}", source) for name, source in file.encoders.items()]
    for field, source in named:
        if source.ref is None or scheme_of(source.ref) in SCHEMES:
            continue
        try:
            found = resolve(source.ref, EncoderStatement.of(source))
        except UserError as error:
            mistakes.append(f"{field}.ref: {error}")
            continue
        if found.names is not None and not found.implausible_allowed:  # a file of others
            mistakes += _implausible(field, found)
    if mistakes:
        raise UserError("\n".join(mistakes))


def _implausible(field: str, found: Encoder) -> Iterator[str]:
    """Yield a mistake where no training leaves an encoder's weights behind: its stages would fail."""
    from transfer.encoder.proof.loading import implausible_in  # torch, which has read the file

    assert found.read is not None, "a file has weights"
    if odd := implausible_in(found.read()):
        more = f" and {len(odd) - 1} more" if len(odd) > 1 else ""
        remedy = f"take the file that was meant; {field}.allow_implausible_weights=true goes on with it"
        yield four_parts(f"{field}.ref", found.use.reference, f"weights that training leaves ({odd[0]}{more})", remedy)
