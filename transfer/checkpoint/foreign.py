"""Reading a checkpoint that others trained: safely, with its layout recognised and turned into timm's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.encoders import InitStage, Normalisation
from benchmarks.errors import UserError
from benchmarks.families.torchvision_model import is_torchvisions
from transfer.checkpoint.architecture.beside import Described, describe
from transfer.checkpoint.architecture.huggingface_config import read_config
from transfer.checkpoint.architecture.infer import infer
from transfer.checkpoint.architecture.inferred import Inferred
from transfer.checkpoint.architecture.normalisation import published, stated_beside, torchvisions
from transfer.checkpoint.architecture.open_clip_config import read_open_clip
from transfer.checkpoint.architecture.plain.infer_plain import with_head_noted
from transfer.checkpoint.architecture.plain.infer_vit import with_positions_assumed
from transfer.checkpoint.architecture.published import known_of_openai
from transfer.checkpoint.architecture.stated import Stated, settle, settle_names, settle_unclear, shapes_of
from transfer.checkpoint.content.selection import Selection
from transfer.checkpoint.content.stage import infer_epochs, infer_stage
from transfer.checkpoint.content.state_dict import FoundWeights, find_weights
from transfer.checkpoint.files.checkpoint_file import CheckpointFile, read_checkpoint_file
from transfer.checkpoint.layouts.known import TIMM, identify
from transfer.checkpoint.layouts.layout import Layout, Weights
from transfer.checkpoint.layouts.names import FileNames
from transfer.checkpoint.refusal import naming


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
    """None where nothing beside the file states it, and published encoders of its layout do not agree in it."""
    names: FileNames


def read_foreign(
    path: Path,
    stated: Stated | None = None,
    selection: Selection = Selection(),
) -> ForeignEncoder:
    """Read a checkpoint of any known layout. Raises UserError for anything else, and where `stated` contradicts it.

    `selection` says which of its sets of weights is meant.

    A description beside the checkpoint is believed before what its tensors let one infer.
    """
    return recognise(read_checkpoint_file(path), stated, selection)


def recognise(
    file: CheckpointFile,
    stated: Stated | None = None,
    selection: Selection = Selection(),
) -> ForeignEncoder:
    """Return the encoder in a checkpoint that has been read. Raises UserError as `read_foreign` does."""
    with naming(file.path):
        return _recognised(file, stated, selection)


def _recognised(file: CheckpointFile, stated: Stated | None, selection: Selection) -> ForeignEncoder:
    described = describe(file)
    found, layout = _find(file.content, described, stated, selection)
    weights = layout.to_timm(found.tensors)
    if described and described.in_timm_layout and not weights.keys() <= found.tensors.keys():
        described = None
    shapes = {name: tuple(tensor.shape) for name, tensor in found.tensors.items()}
    names = FileNames(layout, found.prefix, shapes, found.outside)
    try:
        config = read_config(file.path) or read_open_clip(file.path) or known_of_openai(found.beside)
        inferred = _architecture(layout, weights, config, described, stated)
        if stated is None and described is None and layout.name == "timm-vit":
            inferred = with_positions_assumed(inferred, found.tensors)
        if layout.name == "huggingface-aimv2":
            inferred = with_head_noted(inferred, found.tensors)
    except UserError as error:
        raise names.explain(error) from None
    return ForeignEncoder(
        file,
        found,
        layout,
        _without_empty_registers(weights) | _norms_as_built(inferred),
        inferred,
        (described and described.stage) or infer_stage(layout.name, {**found.beside, **found.tensors}, found.facts),
        described.epochs if described and described.epochs is not None else infer_epochs(found.facts),
        _normalisation(file, found, layout, inferred, described),
        names,
    )


def _normalisation(
    file: CheckpointFile, found: FoundWeights, layout: Layout, inferred: Inferred, described: Described | None
) -> Normalisation | None:
    channels = inferred.architecture.in_chans
    if described is not None and described.normalisation is not None:
        return described.normalisation
    stated = stated_beside(file.path, channels) or torchvisions(inferred.architecture)
    return stated or published(layout, {**found.beside, **found.tensors}, channels)


def _find(
    content: object, described: Described | None, stated: Stated | None, selection: Selection
) -> tuple[FoundWeights, Layout]:
    """Return the encoder's tensors and their layout.

    Where an architecture is named, by a person or by timm's config.json, a file with the names of that model needs no
    layout to be known: it is taken as it is, unless a known layout gives the same.
    """
    named = stated.architecture if stated else None
    if named is None and described and described.in_timm_layout:
        named = described.inferred.architecture
    if named is None:
        found = find_weights(content, selection)
        return found, identify(found.tensors)
    names = shapes_of(named).keys()
    known: tuple[FoundWeights, Layout] | None = None
    try:
        found = find_weights(content, selection)
        known = found, identify(found.tensors)
    except UserError:
        pass
    of_torchvision = is_torchvisions(named.name)  # whose names timm's DenseNet has, too
    meant = known and (known[1].family == "torchvision") == of_torchvision
    if known and meant and names <= known[1].to_timm(known[0].tensors).keys():
        return known
    try:
        direct = find_weights(content, selection, names)
    except UserError:
        if known is None:
            raise
        return known
    return (direct, TIMM) if known is None or names <= direct.tensors.keys() else known


def _architecture(
    layout: Layout, weights: Weights, config: Mapping[str, Any], described: Described | None, stated: Stated | None
) -> Inferred:
    shapes = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    try:
        if layout is TIMM:
            assert stated or described, "a layout of any model is taken where one is named"
            return settle_names(stated, shapes) if stated else described.inferred  # type: ignore[union-attr]
        inferred = described.inferred if described else infer(layout, weights, config)
    except UserError as unclear:
        if stated is None:
            raise
        return settle_unclear(stated, shapes, unclear)
    built = {name: tuple(tensor.shape) for name, tensor in _norms_as_built(inferred).items()}
    return settle(stated, inferred, shapes | built) if stated else inferred


def _without_empty_registers(weights: Weights) -> Weights:
    """Leave out registers of no row, which say that there are none; an encoder of timm's has no tensor for them."""
    return {name: tensor for name, tensor in weights.items() if name != "reg_token" or tensor.numel()}


def _norms_as_built(inferred: Inferred) -> Weights:
    widths = inferred.norms_as_built.items()
    weights = {f"{norm}.weight": torch.ones(width) for norm, width in widths}
    return weights | {f"{norm}.bias": torch.zeros(width) for norm, width in widths}
