"""What `--encoder` may be: a run, an export, a checkpoint that others trained, `timm:`, `hf-hub:`, `random:`."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.encoders import (
    MANIFEST,
    InitStage,
    Normalisation,
    assumed_normalisation,
    find_architecture,
    read_encoder,
    read_manifest,
)
from benchmarks.errors import UserError
from benchmarks.runs.folder import RunFolder, follow, is_announcement, read_record
from benchmarks.runs.record import EncoderUse

if TYPE_CHECKING:
    from torch import Tensor

    from transfer.checkpoint.architecture.stated import Stated
    from transfer.checkpoint.layouts.names import FileNames


ARCHITECTURE_HELP = (
    "what the encoder is: an encoder of `mimbench list encoders`, a YAML file of that form or a timm model; "
    "it must agree with the tensors, and settles what they do not tell"
)


@dataclass(frozen=True)
class Source:
    """An encoder as a user names it: what it is, and how its weights are read when they are needed."""

    use: EncoderUse
    source_format: str
    normalisation: Normalisation
    read: Callable[[], dict[str, Tensor]] | None
    """Returns the weights in timm's key layout; None for random weights."""
    parents: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    assumed: Mapping[str, str] = field(default_factory=dict)
    """What was assumed where a foreign checkpoint does not tell it: a sentence by the name of timm's argument."""
    names: FileNames | None = None
    """What a foreign checkpoint calls its tensors."""

    @property
    def window_assumed(self) -> bool:
        """Tell whether SwinV2's window is only that of the usual model."""
        return "window_size" in self.assumed

    def notes(self, given: Container[str] = ()) -> tuple[str, ...]:
        """Return what the reader of a transfer should know; what is `given` is no assumption."""
        return (*self.remarks, *(note for name, note in self.assumed.items() if name not in given))


def resolve(
    reference: str,
    label: str | None = None,
    stage: InitStage | None = None,
    architecture: str | None = None,
    epoch: int | None = None,
) -> Source:
    """Return the encoder that `reference` names. Raises UserError when it names none, or an unfinished one.

    `stage` says how far a foreign checkpoint or a timm model was trained, where its file or tag does not tell;
    `architecture` what it is, which must agree with what is found. `epoch` names an encoder that a pretraining run
    exported on its way.
    """
    stated = _state(architecture) if architecture is not None else None
    scheme, separator, name = reference.partition(":")
    if separator and scheme in _SCHEMES and epoch is None:
        return _SCHEMES[scheme](reference, name, label, stage, stated)
    path = Path(reference)
    if epoch is not None:
        return _on_record(_exported(reference, _on_the_way(reference, path, epoch), label), stated)
    if (folder := _folder_of(reference, path)) is not None:
        return _on_record(_exported(reference, folder, label), stated)
    if path.exists():
        return _foreign(reference, path, label, stage, stated)
    rule = "a run, an exported encoder or a checkpoint that exists, timm:NAME, hf-hub:NAME or random:NAME"
    raise UserError.about("--encoder", reference, rule, "check the path")


def _state(architecture: str) -> Stated:
    from transfer.checkpoint.architecture.stated import state  # timm, only when there is a statement

    return state(architecture)


def _on_record(source: Source, stated: Stated | None) -> Source:
    """Return a source whose architecture is on record. Raises UserError where that is not what is stated."""
    if stated is not None:
        from transfer.checkpoint.architecture.stated import check_stated

        check_stated(stated, source.use.architecture)
    return source


def known_stage(found: InitStage | None, reference: str) -> InitStage:
    """Return `found`. Raises UserError where it is None."""
    if found is not None:
        return found
    rule = "known: reports never mix self-supervised, supervised and fine-tuned encoders"
    remedy = "the encoder does not tell it: add --stage self-supervised, --stage supervised or --stage fine-tuned"
    raise UserError.about(f"stage of {reference}", "(unknown)", rule, remedy)


def _folder_of(reference: str, path: Path) -> Path | None:
    """Return the folder of our own export: given itself, as its run, or by a stage's announcement; None for others."""
    if path.suffix == ".json" and is_announcement(path):
        path = follow(path)
    if (path / MANIFEST).is_file():
        return path
    if (record := read_record(path)) is not None:
        if record.status != "completed":
            rule = f"a completed run (this one is {record.status}: {record.error or 'no error noted'})"
            raise UserError.about("--encoder", reference, rule, "finish that run: its command continues it")
        if record.exported_sha256 is None:
            rule = "a run that trained an encoder (this one measured a frozen one)"
            start = record.encoder.reference if record.encoder else "the encoder it measured"
            raise UserError.about("--encoder", reference, rule, f"name that encoder: {start}")
        return RunFolder(path).encoder
    return None


def _on_the_way(reference: str, path: Path, epoch: int) -> Path:
    """Return the folder of the encoder that a pretraining run exported after an epoch. Raises UserError for none."""
    run = follow(path) if path.suffix == ".json" and is_announcement(path) else path
    folder = RunFolder(run).encoder_after(epoch)
    if not (folder / MANIFEST).is_file():
        there = sorted(int(found.name.rpartition("_")[2]) for found in RunFolder(run).encoders.glob("epoch_*"))
        rule = f"an epoch after which {reference} exported its encoder ({', '.join(map(str, there)) or 'none'})"
        remedy = "pretrain with export_epochs=[...]; a finished run keeps no other encoder than its last"
        raise UserError.about("--epoch", epoch, rule, remedy)
    return folder


def _exported(reference: str, folder: Path, label: str | None) -> Source:
    manifest = read_manifest(folder)
    use = EncoderUse(
        label=label or f"{manifest.method} {manifest.epochs} epochs",
        reference=reference,
        method=manifest.method,
        init_stage=manifest.init_stage,
        epochs=manifest.epochs,
        architecture=manifest.architecture,
        sha256=manifest.sha256,
    )
    read = lambda: read_encoder(folder)[1]  # noqa: E731
    return Source(use, "mimbench", Normalisation(manifest.mean, manifest.std), read, manifest.parents)


def _foreign(reference: str, path: Path, label: str | None, stage: InitStage | None, stated: Stated | None) -> Source:
    from transfer.encoder.foreign_source import foreign_source  # torch, only when a checkpoint is read

    return foreign_source(reference, path, label, stage, stated)


def _random(reference: str, name: str, label: str | None, _stage: InitStage | None, stated: Stated | None) -> Source:
    use = EncoderUse(
        label=label or "from scratch",
        reference=reference,
        method="none",
        init_stage="random",
        epochs=0,
        architecture=find_architecture(name),
        sha256=None,
    )
    return _on_record(Source(use, "random", assumed_normalisation(use.architecture.in_chans), None), stated)


def _timm(reference: str, name: str, label: str | None, stage: InitStage | None, stated: Stated | None) -> Source:
    from transfer.encoder.hub import timm_source  # torch and timm, only when a hub name is used

    return _on_record(timm_source(reference, name, label, stage), stated)


def _hf_hub(reference: str, name: str, label: str | None, stage: InitStage | None, stated: Stated | None) -> Source:
    from transfer.encoder.foreign_source import foreign_source
    from transfer.encoder.hub import download

    return foreign_source(reference, download(name), label, stage, stated)


_SCHEMES = {"random": _random, "timm": _timm, "hf-hub": _hf_hub}
