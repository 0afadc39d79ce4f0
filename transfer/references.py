"""What `--encoder` may be: a run, an export, a checkpoint that others trained, `timm:`, `hf-hub:`, `random:`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.encoders import (
    MANIFEST,
    Architecture,
    InitStage,
    assumed_normalisation,
    find_architecture,
    read_encoder,
    read_manifest,
    with_window,
)
from benchmarks.errors import UserError
from benchmarks.record import EncoderUse
from benchmarks.rundir import follow, is_announcement, read_record

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Source:
    """An encoder as a user names it: what it is, and how its weights are read when they are needed."""

    use: EncoderUse
    source_format: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    read: Callable[[], dict[str, Tensor]] | None
    """Returns the weights in timm's key layout; None for random weights."""
    parents: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    """What was assumed where a foreign checkpoint does not tell it."""
    window_assumed: bool = False
    """True where SwinV2's window is only that of the usual model."""

    def architecture(self, window_size: int | None) -> Architecture:
        """Return the architecture with the window a recipe asks for; None keeps its own.

        Raises UserError where neither the recipe nor the checkpoint tells the window.
        """
        if self.window_assumed and window_size is None:
            rule = "a known window (SwinV2's tensors do not tell it)"
            remedy = "add window_size=N, or put the config.json / FILE.json beside it"
            raise UserError.about(f"window of {self.use.reference}", "(unknown)", rule, remedy)
        return with_window(self.use.architecture, window_size)


def resolve(reference: str, label: str | None = None, stage: InitStage | None = None) -> Source:
    """Return the encoder that `reference` names. Raises UserError when it names none, or an unfinished one.

    `stage` says how far a foreign checkpoint or a timm model was trained, where its file or tag does not tell.
    """
    scheme, separator, name = reference.partition(":")
    if separator and scheme in _SCHEMES:
        return _SCHEMES[scheme](reference, name, label, stage)
    path = Path(reference)
    if (folder := _folder_of(reference, path)) is not None:
        return _exported(reference, folder, label)
    if path.exists():
        return _foreign(reference, path, label, stage)
    rule = "a run, an exported encoder or a checkpoint that exists, timm:NAME, hf-hub:NAME or random:NAME"
    raise UserError.about("--encoder", reference, rule, "check the path")


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
        return path / "encoder"
    return None


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
    return Source(use, "mimbench", manifest.mean, manifest.std, read, manifest.parents)


def _foreign(reference: str, path: Path, label: str | None, stage: InitStage | None) -> Source:
    from transfer.foreign_source import foreign_source  # torch, only when a checkpoint is read

    return foreign_source(reference, path, label, stage)


def _random(reference: str, name: str, label: str | None, _stage: InitStage | None) -> Source:
    use = EncoderUse(
        label=label or "from scratch",
        reference=reference,
        method="none",
        init_stage="random",
        epochs=0,
        architecture=find_architecture(name),
        sha256=None,
    )
    mean, std = assumed_normalisation(use.architecture.in_chans)
    return Source(use, "random", mean, std, None)


def _timm(reference: str, name: str, label: str | None, stage: InitStage | None) -> Source:
    from transfer.hub import timm_source  # torch and timm, only when a hub name is used

    return timm_source(reference, name, label, stage)


def _hf_hub(reference: str, name: str, label: str | None, stage: InitStage | None) -> Source:
    from transfer.foreign_source import foreign_source
    from transfer.hub import download

    return foreign_source(reference, download(name), label, stage)


_SCHEMES = {"random": _random, "timm": _timm, "hf-hub": _hf_hub}
