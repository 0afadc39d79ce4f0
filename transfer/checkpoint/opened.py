"""Any encoder on disk, ours or others', opened for inspection and conversion."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from benchmarks.encoders import MANIFEST, Architecture, InitStage, read_encoder
from transfer.checkpoint.foreign import read_foreign, weights_sha256
from transfer.checkpoint.layout import Family, Weights
from transfer.checkpoint.layouts import identify, infer
from transfer.checkpoint.names import FileNames


@dataclass(frozen=True)
class OpenedEncoder:
    """An encoder's tensors in timm's layout, and what is known about it."""

    layout: str
    family: Family
    container: str
    architecture: Architecture
    image_size_px: int | None
    patch_size_px: int
    window_size: int | None
    weights: Weights
    stage: InitStage | None
    epochs: int | None
    facts: dict[str, JsonValue]
    """Whatever else is known: where the tensors lay, what wrapped them, what was left out, configuration."""
    notes: tuple[str, ...] = ()
    """What was assumed."""
    names: FileNames | None = None
    """What the file calls its tensors; None where they are timm's names."""

    @property
    def sha256(self) -> str:
        """Of the tensors, the same whatever container and layout they came in."""
        return weights_sha256(self.weights)


def open_encoder(reference: str | Path) -> OpenedEncoder:
    """Open an exported encoder, a run's folder, a foreign checkpoint, `timm:NAME` or `hf-hub:NAME`.

    Raises UserError for anything else, WorkFailed where a hub cannot be reached.
    """
    scheme, _, name = str(reference).partition(":")
    if scheme == "timm":
        return _timm(str(reference), name)
    if scheme == "hf-hub":
        from transfer.hub import download  # it imports this package

        return _foreign(download(name))
    path = Path(reference)
    for folder in (path, path / "encoder"):
        if (folder / MANIFEST).is_file():
            return _own(folder)
    return _foreign(path)


def _own(folder: Path) -> OpenedEncoder:
    manifest, weights = read_encoder(folder)
    layout = identify(weights)
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
        facts={"manifest": manifest.model_dump(mode="json")},
    )


def _timm(reference: str, name: str) -> OpenedEncoder:
    from transfer.hub import timm_source  # it imports this package

    source = timm_source(reference, name, None)
    assert source.read is not None
    weights = source.read()
    layout = identify(weights)
    inferred = infer(layout, weights, {})
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
        facts={"reference": reference},
        notes=inferred.notes,
    )


def _foreign(path: Path) -> OpenedEncoder:
    encoder = read_foreign(path)
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
        facts={
            "file_sha256": encoder.file.sha256,
            "where": ".".join(found.where),
            "prefix": found.prefix,
            "inert_classes": list(encoder.file.inert),
            **found.facts,
        },
        notes=inferred.notes,
        names=encoder.names,
    )
