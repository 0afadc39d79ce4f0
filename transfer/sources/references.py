"""What `--encoder` may be: a run, an export, a checkpoint that others trained, `timm:`, `hf-hub:`, `random:`, `mae:`.

Transfers, `mimbench checkpoint` and pipelines all resolve it here. torch is imported only when an encoder is read.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from benchmarks.catalogue.checkpoints import Checkpoint, find_checkpoint, is_family
from benchmarks.encoders import (
    MANIFEST,
    Architecture,
    CodeUse,
    EncoderManifest,
    InitStage,
    Normalisation,
    assumed_normalisation,
    find_architecture,
    read_encoder,
    read_manifest,
)
from benchmarks.errors import UserError, require_word
from benchmarks.history import history_from_parents
from benchmarks.runs.folder import RunFolder, read_record, run_folder_of
from benchmarks.runs.record import EncoderUse, Published
from benchmarks.verbs.statement import EncoderStatement
from transfer.checkpoint.content.selection import Selection
from transfer.sources.source import Source, refuse_selection, refuse_statement

if TYPE_CHECKING:
    from transfer.checkpoint.architecture.stated import Stated


SCHEMES = ("timm", "hf-hub", "random", "python")
"""The words that may stand before the colon of a reference that is no path."""


def scheme_of(reference: str) -> str | None:
    """Return the scheme of `SCHEME:NAME`, or the family of a published checkpoint (`mae:vit_base`); None for a path."""
    scheme, separator, _ = reference.partition(":")
    return scheme if separator and (scheme in SCHEMES or is_family(scheme)) else None


def published_checkpoint(reference: str) -> Checkpoint | None:
    """Return the checkpoint of the catalogue that is named; None for every other reference.

    Raises UserError for a name of none in a family that has some.
    """
    scheme = scheme_of(reference)
    return None if scheme is None or scheme in SCHEMES else find_checkpoint(reference)


def random_architecture(reference: str) -> Architecture | None:
    """Return what `random:NAME` builds; None for every other reference."""
    return find_architecture(reference.partition(":")[2]) if scheme_of(reference) == "random" else None


def can_be_built(name: str) -> bool:
    """Tell whether timm or torchvision has an architecture of this name."""
    from benchmarks.engine.backbone import is_known  # timm, only when an architecture is asked for

    return is_known(name)


@dataclass(frozen=True)
class Location:
    """Where to find the encoder that a reference names."""

    kind: Literal["timm", "random", "export", "file", "python"]
    """A pretrained model of timm, random weights, our own export, a checkpoint that others trained, or code that a
    person names."""
    name: str
    """The name of timm's model or of the architecture; for an export or a file, its path; for code, the reference."""
    checkpoint: Checkpoint | None = None
    """The row of the catalogue that a file belongs to."""
    published: Published | None = None
    """How that file was verified."""

    @property
    def path(self) -> Path:
        return Path(self.name)

    @property
    def settled(self) -> str | None:
        """The architecture by its name, where the catalogue knows it and the file's tensors leave something open."""
        return self.checkpoint.architecture if self.checkpoint and self.checkpoint.architecture_settles else None


def locate(reference: str, epoch: int | None = None) -> Location:
    """Return where the encoder is found. Raises UserError where there is none, or an unfinished one.

    `epoch` picks an encoder that a pretraining run exported before its end. A repository of a hub is downloaded, and so
    is a checkpoint of the catalogue. Raises WorkFailed where that fails.
    """
    scheme, _, name = reference.partition(":")
    path = Path(reference)
    if epoch is not None:
        return Location("export", str(_on_the_way(reference, path, epoch)))
    if scheme_of(reference) == "hf-hub":
        from transfer.sources.hub import download  # torch and timm, only when a hub name is used

        return Location("file", str(download(name)))
    if (checkpoint := published_checkpoint(reference)) is not None:
        from transfer.sources.published.fetched import fetched  # rich and hashlib, only when one is used

        found, published = fetched(checkpoint)
        return Location("file", str(found), checkpoint, published)
    if scheme == "python":
        return Location("python", reference)
    if scheme_of(reference) is not None:
        return Location("timm" if scheme == "timm" else "random", name)
    if os.path.exists(reference):  # which no text is too long or too odd for
        folder = _folder_of(reference, path)
        return Location("file", reference) if folder is None else Location("export", str(folder))
    rule = "a run, an exported encoder or a checkpoint that exists, timm:NAME, hf-hub:NAME, random:NAME or python:NAME"
    raise UserError.about("encoder", reference, rule, "check the path; `mimbench list checkpoints` has published ones")


def resolve(
    reference: str,
    said: EncoderStatement = EncoderStatement(),
    label: str | None = None,
) -> Source:
    """Return the encoder that `reference` names, of which a person has `said` something and which is called `label`.

    Raises UserError where there is none, or an unfinished one, and where what was said does not fit it.
    """
    if said.stage is not None:
        require_word("stage", said.stage, get_args(InitStage), "how far the encoder was trained")
    return replace(_resolved(reference, said, label), implausible_allowed=said.allow_implausible_weights)


def _resolved(reference: str, said: EncoderStatement, label: str | None) -> Source:
    architecture = said.architecture
    stated = _state(architecture) if architecture is not None and not trust_code(architecture) else None
    place = locate(reference, said.epoch)
    if architecture is None and place.settled is not None:
        stated = _state(place.settled)
    if architecture is not None and stated is None and place.kind not in ("export", "python"):
        rule = "given for runs and exports of one's own code alone"
        remedy = "let the function load the file: --encoder python:..."
        raise UserError.about("--architecture", architecture, rule, remedy)
    if place.kind == "file":
        from transfer.sources.foreign_source import foreign_source  # torch, only when a checkpoint is read

        source = foreign_source(reference, place.path, said, label, stated, place.checkpoint)
        return replace(source, use=source.use.model_copy(update={"published": place.published}))
    refuse_selection(Selection(said.weights, said.prefix), reference)
    if place.kind == "python":
        from transfer.sources.own_source import own_source

        return _on_record(own_source(reference, label, said.stage, said.pretrained_on), stated)
    if place.kind == "timm":
        from transfer.sources.hub import timm_source

        return _on_record(timm_source(reference, place.name, label, said.stage, said.pretrained_on), stated)
    refuse_statement(said.pretrained_on, reference, "it is trained here or not at all, and its record states the data")
    if place.kind == "export":
        return _on_record(_exported(reference, place.path, label), stated)
    return _on_record(_random(reference, place.name, label), stated)


def trust_code(architecture: str) -> bool:
    """Return whether a person names code as the architecture; it may then be run in this process."""
    if scheme_of(architecture) != "python":
        return False
    from benchmarks.engine.own_code import trust

    trust(architecture)
    return True


def _state(architecture: str) -> Stated:
    from transfer.checkpoint.architecture.stated import state  # timm, only when there is a statement

    return state(architecture)


def _on_record(source: Source, stated: Stated | None) -> Source:
    """Return a source whose architecture is on record. Raises UserError where the record contradicts `stated`."""
    if stated is not None:
        from transfer.checkpoint.architecture.stated import check_stated

        check_stated(stated, source.use.architecture)
    return source


def _folder_of(reference: str, path: Path) -> Path | None:
    """Return the folder of our own export; None for everything else.

    The reference may be that folder, its run, or the file in which a stage of a pipeline announces its run.
    """
    path = run_folder_of(path)
    if (path / MANIFEST).is_file():
        return path
    if (record := read_record(path)) is not None:
        if record.status != "completed":
            rule = f"a completed run (this one is {record.status}: {record.error or 'no error noted'})"
            raise UserError.about("encoder", reference, rule, "finish that run: its command continues it")
        if record.exported_sha256 is None:
            rule = "a run that trained an encoder (this one measured a frozen one)"
            start = record.encoder.reference if record.encoder else "the encoder it measured"
            raise UserError.about("encoder", reference, rule, f"name that encoder: {start}")
        return RunFolder(path).encoder
    return RunFolder(path).encoder if (RunFolder(path).encoder / MANIFEST).is_file() else None


def _on_the_way(reference: str, path: Path, epoch: int) -> Path:
    """Return the folder of the encoder that a pretraining run exported after an epoch. Raises UserError for none."""
    folder = (run := RunFolder(run_folder_of(path))).encoder_after(epoch)
    if not (folder / MANIFEST).is_file():
        there = sorted(int(found.name.rpartition("_")[2]) for found in run.encoders.glob("epoch_*"))
        rule = f"an epoch after which {reference} exported its encoder ({', '.join(map(str, there)) or 'none'})"
        remedy = "pretrain with export_epochs=[...]; a finished run keeps no other encoder than its last"
        raise UserError.about("--epoch", epoch, rule, remedy)
    return folder


def _exported(reference: str, folder: Path, label: str | None) -> Source:
    manifest = read_manifest(folder)
    code, remarks = _code_of(manifest)
    use = EncoderUse(
        label=label or (manifest.method if manifest.epochs is None else f"{manifest.method} {manifest.epochs} epochs"),
        reference=reference,
        method=manifest.method,
        init_stage=manifest.init_stage,
        epochs=manifest.epochs,
        architecture=_summing_patches(manifest),
        sha256=manifest.sha256,
        history=manifest.history
        if manifest.history is not None
        else history_from_parents(manifest.parents, manifest.method, manifest.epochs),
        code=code,
    )
    read = lambda: read_encoder(folder)[1]  # noqa: E731
    return Source(
        use, "mimbench", Normalisation(manifest.mean, manifest.std, "its export"), read, manifest.parents, remarks
    )


def _summing_patches(manifest: EncoderManifest) -> Architecture:
    """Return an export's architecture, whose head takes the mean of the patches where SimMIM pretrained a ViT.

    timm's BEiT has a norm over all tokens, as SimMIM's pretraining needs it, where it is built for its class token. No
    loss has trained that; SimMIM's own fine-tuning takes the mean (microsoft/SimMIM `vision_transformer.py`).
    """
    architecture = manifest.architecture
    of_simmim = manifest.method.endswith("simmim") and architecture.name.startswith("beit")
    if not of_simmim or architecture.arguments.get("global_pool") != "token":
        return architecture
    return architecture.with_arguments(global_pool="avg", use_fc_norm=False)


def _code_of(manifest: EncoderManifest) -> tuple[CodeUse | None, tuple[str, ...]]:
    """Return the code with which an exported encoder will be built, and what a person should know of it."""
    if scheme_of(manifest.architecture.name) != "python":
        return None, ()
    from benchmarks.engine.own_code import current_code  # torch, only when there is code

    before, now = manifest.code, current_code(manifest.architecture)
    if now is None or before is None or now.source_sha256 == before.source_sha256:
        return now or before, ()
    changed = f"sha256 {before.source_sha256[:12]}... then, {now.source_sha256[:12]}... now"
    return now, (f"{manifest.architecture.name}: the code is another than that which trained the encoder ({changed})",)


def _random(reference: str, name: str, label: str | None) -> Source:
    use = EncoderUse(
        label=label or "from scratch",
        reference=reference,
        method="none",
        init_stage="random",
        epochs=0,
        architecture=find_architecture(name),
        sha256=None,
        history=(),
    )
    return Source(use, "random", assumed_normalisation(use.architecture.in_chans), None)
