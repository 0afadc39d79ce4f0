"""What `--encoder` may be: a run, an exported encoder, `timm:NAME` or `random:NAME`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.encoders import IMAGENET_MEAN, IMAGENET_STD, MANIFEST, find_architecture, read_encoder, read_manifest
from benchmarks.errors import UserError
from benchmarks.record import EncoderUse
from benchmarks.rundir import follow, read_record

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


def resolve(reference: str, label: str | None = None) -> Source:
    """Return the encoder that `reference` names. Raises UserError when it names none, or an unfinished one."""
    scheme, separator, name = reference.partition(":")
    if separator and scheme in _SCHEMES:
        return _SCHEMES[scheme](reference, name, label)
    return _exported(reference, _folder_of(reference), label)


def _folder_of(reference: str) -> Path:
    """Return the folder of an exported encoder: given itself, as its run, or by a stage's announcement."""
    path = Path(reference)
    if path.is_file() and path.suffix == ".json":
        path = follow(path)
    if (path / MANIFEST).is_file():
        return path
    if (record := read_record(path)) is not None:
        if record.status != "completed":
            rule = f"a completed run (this one is {record.status}: {record.error or 'no error noted'})"
            raise UserError.about("--encoder", reference, rule, "finish that run: its command continues it")
        return path / "encoder"
    rule = "a run folder, an exported encoder's folder, timm:NAME or random:NAME"
    remedy = "check the path; foreign checkpoint files are read through timm's hub names in this version"
    raise UserError.about("--encoder", reference, rule, remedy)


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


def _random(reference: str, name: str, label: str | None) -> Source:
    use = EncoderUse(
        label=label or "from scratch",
        reference=reference,
        method="none",
        init_stage="random",
        epochs=0,
        architecture=find_architecture(name),
        sha256=None,
    )
    channels = use.architecture.in_chans
    mean, std = (IMAGENET_MEAN, IMAGENET_STD) if channels == 3 else ((0.5,) * channels, (0.5,) * channels)
    return Source(use, "random", mean, std, None)


def _timm(reference: str, name: str, label: str | None) -> Source:
    from transfer.timm_hub import timm_source  # torch and timm, only when a hub name is used

    return timm_source(reference, name, label)


_SCHEMES = {"random": _random, "timm": _timm}
