"""Opening any encoder, ours or others', for inspection and conversion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from pydantic import JsonValue

from benchmarks.encoders import (
    Architecture,
    InitStage,
    Normalisation,
    WindowSize,
    assumed_normalisation,
    read_encoder,
)
from benchmarks.errors import UserError
from benchmarks.runs.record import EncoderUse
from transfer.checkpoint.architecture.beside import inferred_from
from transfer.checkpoint.architecture.infer import infer
from transfer.checkpoint.architecture.stated import Stated, check_stated, state
from transfer.checkpoint.content.digest import weights_sha256
from transfer.checkpoint.content.selection import Selection
from transfer.checkpoint.foreign import read_foreign
from transfer.checkpoint.layouts.known import identify_or_timm
from transfer.checkpoint.layouts.layout import Family, Weights
from transfer.checkpoint.layouts.names import FileNames
from transfer.sources.hub import timm_source
from transfer.sources.references import locate, trust_code
from transfer.sources.source import Source, refuse_selection

_SHOWN: tuple[Family, ...] = ("swin", "swinv2", "vit", "beit")
"""Families whose tensors show more than timm's name says: windows and image size."""


@dataclass(frozen=True)
class OpenedEncoder:
    """An encoder's tensors in timm's layout, and what is known about it."""

    layout: str
    family: Family
    container: str
    architecture: Architecture
    image_size_px: int | None
    patch_size_px: int
    window_size: WindowSize | None
    weights: Weights
    stage: InitStage | None
    epochs: int | None
    normalisation: Normalisation | None
    """None where it is unknown."""
    facts: dict[str, JsonValue]
    """Whatever else is known: where the tensors lay, what wrapped them, what was left out, configuration."""
    remarks: tuple[str, ...] = ()
    assumed: Mapping[str, str] = field(default_factory=dict)
    """A sentence for each argument that no tensor shows, as in `Inferred`."""
    names: FileNames | None = None
    """What the file calls its tensors; None where they are timm's names."""
    file: Path | None = None
    """The file that others wrote; None for our own exports and for models of a hub's library."""

    def as_source(self) -> Source:
        """Return the encoder as the source of a transfer that nothing records: of a label and a stage it has none."""
        use = EncoderUse(
            label="",
            reference=self.architecture.name,
            method=self.layout,
            init_stage=self.stage or "self-supervised",
            epochs=self.epochs,
            architecture=self.architecture,
            sha256=None,
        )
        normalisation = self.normalisation or assumed_normalisation(self.architecture.in_chans)
        return Source(use, self.layout, normalisation, lambda: self.weights, assumed=self.assumed)

    @cached_property
    def sha256(self) -> str:
        """The sha256 of the tensors, which is the same whatever container and layout they came in."""
        return weights_sha256(self.weights)


def open_encoder(
    reference: str | Path,
    architecture: str | None = None,
    selection: Selection = Selection(),
) -> OpenedEncoder:
    """Open any encoder that `--encoder` may name, except random weights.

    Raises UserError for anything else, and where the encoder is not of the stated `architecture`; WorkFailed where a
    hub cannot be reached.
    """
    stated = None if architecture is None or trust_code(architecture) else state(architecture)
    place = locate(str(reference))
    if place.kind == "file":
        if architecture is None and place.settled is not None:
            stated = state(place.settled)
        return _foreign(place.path, stated, selection)
    refuse_selection(selection, str(reference))
    if place.kind == "python":
        rule = "an encoder in a file, an export or a hub"
        raise UserError.about(
            "encoder",
            str(reference),
            rule,
            "`mimbench transfer TASK --encoder python:...` checks code of your own before anything is trained",
        )
    if place.kind == "random":
        rule = "an encoder that has weights: a run, an export, any checkpoint, timm:NAME or hf-hub:NAME"
        raise UserError.about("encoder", str(reference), rule, "name one of those; random weights show nothing")
    opened = _timm(str(reference), place.name) if place.kind == "timm" else _own(place.path)
    if stated is not None:
        check_stated(stated, opened.architecture)
    return opened


def _own(folder: Path) -> OpenedEncoder:
    manifest, weights = read_encoder(folder)
    layout = identify_or_timm(weights)
    return OpenedEncoder(
        layout="mimbench",
        family=layout.family,
        container="safetensors",
        architecture=manifest.architecture,
        image_size_px=manifest.image_size_px,
        patch_size_px=manifest.patch_size_px,
        window_size=manifest.window_size,
        weights=weights,
        stage=manifest.init_stage,
        epochs=manifest.epochs,
        normalisation=Normalisation(manifest.mean, manifest.std, "its export"),
        facts={"manifest": manifest.model_dump(mode="json")},
    )


def _timm(reference: str, name: str) -> OpenedEncoder:
    source = timm_source(reference, name, None)
    assert source.read is not None
    weights = source.read()
    layout = identify_or_timm(weights)
    inferred = infer(layout, weights, {}) if layout.family in _SHOWN else inferred_from(source.use.architecture)
    return OpenedEncoder(
        layout=layout.name,
        family=layout.family,
        container="timm",
        architecture=source.use.architecture,
        image_size_px=inferred.image_size_px,
        patch_size_px=inferred.patch_size_px,
        window_size=inferred.window_size,
        weights=weights,
        stage=source.use.init_stage,
        epochs=None,
        normalisation=source.normalisation,
        facts={"reference": reference},
        remarks=inferred.remarks,
        assumed=inferred.assumed,
    )


def _foreign(path: Path, stated: Stated | None, selection: Selection) -> OpenedEncoder:
    encoder = read_foreign(path, stated, selection)
    inferred, found = encoder.inferred, encoder.found
    return OpenedEncoder(
        layout=encoder.layout.name,
        family=encoder.layout.family,
        container=encoder.file.container,
        architecture=inferred.architecture,
        image_size_px=inferred.image_size_px,
        patch_size_px=inferred.patch_size_px,
        window_size=inferred.window_size,
        weights=encoder.weights,
        stage=encoder.stage,
        epochs=encoder.epochs,
        normalisation=encoder.normalisation,
        facts={
            "file_sha256": encoder.file.sha256,
            "where": ".".join(found.where),
            "prefix": found.prefix,
            "inert_classes": list(encoder.file.inert),
            **found.facts,
        },
        remarks=(*found.remarks, *inferred.remarks),
        assumed=inferred.assumed,
        names=encoder.names,
        file=encoder.file.path,
    )
