"""Reading a checkpoint that others trained: safely, with its layout recognised and turned into timm's."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import save

from benchmarks.encoders import InitStage, Normalisation
from benchmarks.errors import UserError
from transfer.checkpoint.architecture.beside import Described, describe
from transfer.checkpoint.architecture.huggingface_config import read_config
from transfer.checkpoint.architecture.infer import infer
from transfer.checkpoint.architecture.inferred import Inferred
from transfer.checkpoint.architecture.stated import Stated, settle, settle_unclear
from transfer.checkpoint.content.stage import infer_epochs, infer_stage
from transfer.checkpoint.content.state_dict import FoundWeights, find_weights
from transfer.checkpoint.files.checkpoint_file import CheckpointFile, read_checkpoint_file
from transfer.checkpoint.layouts.known import identify
from transfer.checkpoint.layouts.layout import Layout, Weights
from transfer.checkpoint.layouts.names import FileNames


@dataclass(frozen=True)
class ForeignEncoder:
    """An encoder read from a file, and everything that was found out about it."""

    file: CheckpointFile
    found: FoundWeights
    layout: Layout
    weights: Weights
    """The tensors in timm's layout; a head and buffers may be among them."""
    inferred: Inferred
    stage: InitStage | None
    """None where nothing in the file or beside it shows it."""
    epochs: int | None
    normalisation: Normalisation | None
    """None where nothing beside the file states it."""
    names: FileNames


def read_foreign(path: Path, stated: Stated | None = None) -> ForeignEncoder:
    """Read a checkpoint of any known layout. Raises UserError for anything else, and where `stated` contradicts it.

    A description beside the checkpoint is believed before what its tensors let one infer.
    """
    return recognise(read_checkpoint_file(path), stated)


def recognise(file: CheckpointFile, stated: Stated | None = None) -> ForeignEncoder:
    """Return the encoder in a checkpoint that has been read. Raises UserError as `read_foreign` does."""
    found = find_weights(file.content)
    layout = identify(found.tensors)
    weights = layout.to_timm(found.tensors)
    names = FileNames(layout, found.prefix, {name: tuple(tensor.shape) for name, tensor in found.tensors.items()})
    described = describe(file, layout.name.startswith("timm-"))
    try:
        inferred = _architecture(layout, weights, file.path, described, stated)
    except UserError as error:
        raise names.explain(error) from None
    return ForeignEncoder(
        file,
        found,
        layout,
        weights,
        inferred,
        (described and described.stage) or infer_stage(layout.name, {**found.beside, **found.tensors}, found.facts),
        described.epochs if described and described.epochs is not None else infer_epochs(found.facts),
        described.normalisation if described else None,
        names,
    )


def _architecture(
    layout: Layout, weights: Weights, path: Path, described: Described | None, stated: Stated | None
) -> Inferred:
    shapes = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    try:
        inferred = described.inferred if described else infer(layout, weights, read_config(path))
    except UserError as unclear:
        if stated is None:
            raise
        return settle_unclear(stated, shapes, unclear)
    return settle(stated, inferred, shapes) if stated else inferred


def weights_sha256(weights: Weights) -> str:
    """Return the sha256 of the tensors, the same whatever container they came in."""
    return hashlib.sha256(save({name: tensor.contiguous() for name, tensor in sorted(weights.items())})).hexdigest()
