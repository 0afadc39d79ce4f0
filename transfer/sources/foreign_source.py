"""A checkpoint that others trained as the source of a transfer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from benchmarks.catalogue.checkpoints import Checkpoint
from benchmarks.encoders import assumed_normalisation
from benchmarks.runs.record import EncoderUse
from benchmarks.verbs.statement import EncoderStatement
from transfer.checkpoint.architecture.beside import read_object
from transfer.checkpoint.architecture.normalisation import shown_alone
from transfer.checkpoint.architecture.stated import Stated
from transfer.checkpoint.content.digest import weights_sha256
from transfer.checkpoint.content.selection import Selection
from transfer.checkpoint.foreign import ForeignEncoder, read_foreign
from transfer.sources.hub_tags import stages_of_hub_name
from transfer.sources.kept_parity import read_parity
from transfer.sources.preprocessing import TestProtocol, of_huggingface, of_timm
from transfer.sources.source import Source, known_stage, stated_history, use_of


def foreign_source(
    reference: str,
    path: Path,
    said: EncoderStatement,
    label: str | None,
    stated: Stated | None,
    published: Checkpoint | None = None,
) -> Source:
    """Read a checkpoint of any known layout and return it as the source of a transfer.

    `published` is the file's row of the catalogue, which says what neither the file nor a person does; `stated` is the
    architecture that one of them states. Where no file beside it states its normalisation, and published encoders of
    its layout do not agree in it, ImageNet's is taken (0.5 for other than three channels). Raises UserError when the
    file cannot be read, is not the architecture that is `stated`, or shows no stage of training where nobody says it.
    """
    encoder = read_foreign(path, stated, Selection(said.weights, said.prefix))
    if published is not None:
        label = label or published.name
        said = replace(said, stage=said.stage or published.stage, pretrained_on=said.pretrained_on or published.data)
    epochs = published.epochs if published and published.epochs is not None else encoder.epochs
    normalisation = encoder.normalisation or assumed_normalisation(encoder.inferred.architecture.in_chans)
    use = _use(encoder, reference, said, label or path.stem, epochs)
    if normalisation != shown_alone(encoder.layout, encoder.inferred.architecture.in_chans):
        use = use.model_copy(update={"images": use_of(normalisation)})
    return Source(
        use,
        use.method,
        normalisation,
        lambda: encoder.weights,
        remarks=(*encoder.found.remarks, *encoder.inferred.remarks),
        assumed=encoder.inferred.assumed,
        names=encoder.names,
        parity=read_parity(encoder.file.path, str(use.sha256), use.architecture),
        test_protocol=lambda: stated_protocol(encoder.file.path),
    )


def _use(encoder: ForeignEncoder, reference: str, said: EncoderStatement, label: str, epochs: int | None) -> EncoderUse:
    """Return what a record says of the encoder."""
    stage, method = known_stage(said.stage or encoder.stage, reference), encoder.layout.name
    named = stages_of_hub_name(reference) if said.pretrained_on is None else None
    return EncoderUse(
        label=label,
        reference=reference,
        method=method,
        init_stage=stage,
        epochs=epochs,
        architecture=encoder.inferred.architecture,
        sha256=weights_sha256(encoder.weights),
        history=named or stated_history(method, said.pretrained_on, stage, epochs),
    )


def stated_protocol(checkpoint: Path) -> TestProtocol | None:
    """Return the protocol of timm's config.json or of Hugging Face's preprocessor_config.json; None without either.

    Raises UserError for one that is unlike those of `TestProtocol`.
    """
    path = checkpoint.with_name("config.json")
    config = read_object(path)
    if "architecture" in config and "model_type" not in config:
        inner = config.get("pretrained_cfg") or config
        return of_timm(inner, str(path)) if isinstance(inner, dict) else None
    path = checkpoint.with_name("preprocessor_config.json")
    config = read_object(path)
    return of_huggingface(config, str(path)) if config else None
