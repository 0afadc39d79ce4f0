"""A checkpoint that others trained as the source of a transfer."""

from __future__ import annotations

from pathlib import Path

from benchmarks.catalogue.checkpoints import Checkpoint
from benchmarks.encoders import InitStage, Normalisation, assumed_normalisation
from benchmarks.runs.record import EncoderUse
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
    label: str | None,
    stage: InitStage | None,
    stated: Stated | None,
    pretrained_on: str | None = None,
    selection: Selection = Selection(),  # noqa: B008 (frozen)
    published: Checkpoint | None = None,
) -> Source:
    """Read a checkpoint of any known layout and return it as the source of a transfer.

    `published` is the file's row of the catalogue, which says what neither the file nor a person does. Where no file
    beside it states its normalisation, and published encoders of its layout do not agree in it, ImageNet's is taken
    (0.5 for other than three channels). Raises UserError when the file cannot be read, is not the architecture that is
    `stated`, or shows no stage of training while `stage` is None.
    """
    encoder = read_foreign(path, stated, selection)
    if published is not None:
        label, stage = label or published.name, stage or published.stage
        pretrained_on = pretrained_on or published.data
    epochs = published.epochs if published and published.epochs is not None else encoder.epochs
    normalisation = encoder.normalisation or assumed_normalisation(encoder.inferred.architecture.in_chans)
    sha256 = weights_sha256(encoder.weights)
    use = _use(encoder, sha256, normalisation, reference, label or path.stem, stage, epochs, pretrained_on)
    return Source(
        use,
        use.method,
        normalisation,
        lambda: encoder.weights,
        remarks=(*encoder.found.remarks, *encoder.inferred.remarks),
        assumed=encoder.inferred.assumed,
        names=encoder.names,
        parity=read_parity(encoder.file.path, sha256, use.architecture),
        test_protocol=lambda: stated_protocol(encoder.file.path),
    )


def _use(
    encoder: ForeignEncoder,
    sha256: str,
    normalisation: Normalisation,
    reference: str,
    label: str,
    stage: InitStage | None,
    epochs: int | None,
    pretrained_on: str | None,
) -> EncoderUse:
    """Return what a record says of the encoder."""
    architecture, method = encoder.inferred.architecture, encoder.layout.name
    known = known_stage(stage or encoder.stage, reference)
    named = stages_of_hub_name(reference) if pretrained_on is None else None
    return EncoderUse(
        label=label,
        reference=reference,
        method=method,
        init_stage=known,
        epochs=epochs,
        architecture=architecture,
        sha256=sha256,
        images=None if normalisation == shown_alone(encoder.layout, architecture.in_chans) else use_of(normalisation),
        history=named or stated_history(method, pretrained_on, known, epochs),
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
