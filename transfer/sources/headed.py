"""A trained classifier as a source, its head included: timm, torchvision, Hugging Face, SimMIM and Swin files."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import timm
import torch
from pydantic import ValidationError
from torch import Tensor

from benchmarks.encoders import Architecture, InitStage, Normalisation, assumed_normalisation, find_architecture
from benchmarks.engine.backbone import build_backbone
from benchmarks.errors import UserError
from benchmarks.families.torchvision_model import USUAL_PX, is_torchvisions
from benchmarks.runs.record import EncoderUse
from benchmarks.verbs.statement import EncoderStatement
from transfer.checkpoint.architecture.beside import read_object
from transfer.checkpoint.architecture.stated import state
from transfer.checkpoint.content.digest import weights_sha256
from transfer.checkpoint.content.selection import Selection
from transfer.checkpoint.content.stage import infer_stage
from transfer.checkpoint.content.state_dict import FoundWeights, find_weights
from transfer.checkpoint.files.checkpoint_file import CheckpointFile, read_checkpoint_file
from transfer.checkpoint.foreign import recognise
from transfer.checkpoint.refusal import naming
from transfer.sources.foreign_source import stated_protocol
from transfer.sources.head_classes import HeadClasses, known_classes, stated_classes
from transfer.sources.hub import tensors_of, timm_model
from transfer.sources.hub_tags import stage_of_tag, stages_of_hub_name, stages_of_tag
from transfer.sources.preprocessing import TestProtocol, assumed, of_timm, of_torchvision
from transfer.sources.references import locate
from transfer.sources.source import Whole, known_stage, refuse_selection, stated_history

HEADS = ("classifier", "heads.head", "head.fc", "head", "fc")
"""What libraries call the layer of the logits: transformers, torchvision's ViT, timm's Swin, many, ResNets."""
_NUMBERED_HEAD = re.compile(r"(classifier\.(\d+))\.weight")
"""The last of these is that layer where torchvision has a norm, dropout or hidden layers before it, as in ConvNeXt."""
_BEGINNINGS = ("head.", "fc.", "classifier.", "heads.")
_SIDES = {"shorter-side": "on the shorter side", "square": "on both sides"}
_OF_SWINS_AUTHORS = ("microsoft-swin", "microsoft-swinv2")
_LAST_NORM = "head.norm."
"""ConvNeXt's and Hiera's, which belongs to the encoder."""
_DERIVED = ("relative_position_index", "relative_coords_table", "attn_mask", "num_batches_tracked")


@dataclass(frozen=True, kw_only=True)
class Headed(Whole):
    """A classifier, its tensors under timm's names."""

    num_classes: int
    head_classes: HeadClasses = field(repr=False)
    protocol: TestProtocol = field(repr=False)


def headed_source(
    reference: str,
    said: EncoderStatement = EncoderStatement(),
    label: str | None = None,
    head_classes: str | None = None,
) -> Headed:
    """Read the classifier that `reference` names: timm:NAME, hf-hub:NAME, a file, or a folder with its config.json.

    `head_classes` says what its logits stand for. Raises UserError where there is no head, WorkFailed where a hub
    cannot be reached.
    """
    place = locate(reference)
    if place.kind == "timm":
        refuse_selection(Selection(said.weights, said.prefix), reference)
        return _with_classes(_of_timm(reference, place.name, label, said.stage), head_classes)
    if place.kind != "file":
        rule = "a model with its head, which an exported encoder has not"
        raise UserError.about("--model", reference, rule, "name the run itself")
    return _with_classes(_of_file(reference, place.path, said, label), head_classes)


def _with_classes(source: Headed, stated: str | None) -> Headed:
    return source if stated is None else replace(source, head_classes=stated_classes(stated, source.num_classes))


def _of_file(reference: str, path: Path, said: EncoderStatement, label: str | None) -> Headed:
    file, selection = read_checkpoint_file(path), Selection(said.weights, said.prefix)
    with naming(file.path):
        found = find_weights(file.content, selection)
    head = _find_head({**found.beside, **found.tensors}, reference)
    model = _direct(file, found, head, said.architecture) or _by_layout(file, head, said.architecture, selection)
    remarks = (*found.remarks, *model.remarks)
    stated = of_torchvision(file.sha256) or model.protocol or stated_protocol(file.path)
    protocol = stated or _assumed(model)
    use = EncoderUse(
        label=label or path.stem,
        reference=reference,
        method=model.layout,
        init_stage=known_stage(said.stage or ("supervised" if protocol.published else model.stage), reference),
        epochs=None,
        architecture=model.architecture,
        sha256=weights_sha256(model.weights),
        history=stages_of_hub_name(reference) or stated_history(model.layout, None, "supervised", None),
    )
    return Headed(
        use,
        model.layout,
        Normalisation(protocol.preprocessing.mean, protocol.preprocessing.std),
        lambda: model.weights,
        remarks=remarks if stated else (*remarks, _assumed_in_words(reference, protocol)),
        num_classes=head.weight.shape[0],
        head_classes=known_classes(head.weight.shape[0]),
        protocol=protocol,
    )


def _assumed(model: _Model) -> TestProtocol:
    normalisation = model.normalisation or assumed_normalisation(model.architecture.in_chans)
    size = model.image_size_px or 224
    squared = model.layout in _OF_SWINS_AUTHORS and size == 384
    return assumed(size, normalisation.mean, normalisation.std, squared=squared)


def _assumed_in_words(reference: str, protocol: TestProtocol) -> str:
    made = protocol.preprocessing
    return (
        f"nothing states how test images are made for {reference}: {made.resize_px} px {_SIDES[made.resize]}, "
        f"{made.interpolation}, a crop of {protocol.image_size_px} px is assumed, as for SimMIM and Swin; "
        "preprocessing.resize_px=... and the like set others"
    )


def _of_timm(reference: str, name: str, label: str | None, stage: InitStage | None) -> Headed:
    model: Any = timm_model(name)
    config: dict[str, Any] = model.pretrained_cfg
    weights = tensors_of(model)
    if not model.num_classes:
        raise _without_head(reference)
    protocol = of_timm(config, f"timm's configuration of {name}")
    tag = config.get("tag") or ""
    use = EncoderUse(
        label=label or name,
        reference=reference,
        method=tag or "timm",
        init_stage=known_stage(stage or stage_of_tag(name, tag, model.num_classes), reference),
        epochs=None,
        architecture=Architecture(name=name.split(".")[0]),
        sha256=weights_sha256(weights),
        history=stages_of_tag(name, tag) or stated_history(tag or "timm", None, "supervised", None),
    )
    normalisation = Normalisation(protocol.preprocessing.mean, protocol.preprocessing.std)
    return Headed(
        use,
        "timm",
        normalisation,
        lambda: weights,
        num_classes=model.num_classes,
        head_classes=known_classes(model.num_classes),
        protocol=protocol,
    )


class _Head(NamedTuple):
    weight: Tensor
    """[classes, width]"""
    bias: Tensor | None


def _find_head(tensors: dict[str, Tensor], reference: str) -> _Head:
    numbered = sorted((int(found[2]), found[1]) for name in tensors if (found := _NUMBERED_HEAD.fullmatch(name)))
    for name in (*HEADS, *(name for _, name in numbered[-1:])):
        weight = tensors.get(f"{name}.weight")
        if weight is not None and weight.ndim == 2:
            return _Head(weight, tensors.get(f"{name}.bias"))
    raise _without_head(reference)


def _without_head(reference: str) -> UserError:
    rule = f"a model with its head, the tensors {', '.join(f'{name}.weight' for name in HEADS[:3])} or the like"
    remedy = f"fine-tune it or train a probe on it: mimbench transfer TASK --encoder {reference}"
    return UserError.about("--model", reference, rule, remedy)


class _Model(NamedTuple):
    layout: str
    architecture: Architecture
    weights: dict[str, Tensor]
    """Under timm's names, with the head."""
    image_size_px: int | None
    stage: InitStage | None
    protocol: TestProtocol | None = None
    normalisation: Normalisation | None = None
    remarks: tuple[str, ...] = ()


def _direct(file: CheckpointFile, found: FoundWeights, head: _Head, architecture: str | None) -> _Model | None:
    """Return a model whose tensors have timm's names already, where its architecture is stated; else None.

    That takes any timm model, and torchvision's ResNets, which share timm's names.
    """
    config = read_object(file.path.with_name("config.json"))
    described = "architecture" in config and "model_type" not in config
    if architecture is None and not described:
        return None
    known = find_architecture(architecture) if architecture is not None else _architecture(config)
    with torch.device("meta"):
        model = build_backbone(known, None, num_classes=head.weight.shape[0], whole_windows=False)
    expected = model.state_dict()
    if _names(expected) != _names(found.tensors):
        return None
    # Counters of training steps have no part in a prediction, and old files lack them.
    counters = {name for name in expected if name.endswith("num_batches_tracked")}
    weights = dict.fromkeys(counters, torch.tensor(0)) | found.tensors
    stage = infer_stage("timm", {**found.beside, **found.tensors}, found.facts)
    if not described:
        return _Model("timm", known, weights, _size(known), stage)
    cfg = config.get("pretrained_cfg") or config
    tag, classes = cfg.get("tag") or "", head.weight.shape[0]
    stage = stage_of_tag(known.name, tag, classes) if tag else stage
    return _Model("timm", known, weights, None, stage, of_timm(cfg, f"{file.path.parent}/config.json"))


def _architecture(config: dict[str, Any]) -> Architecture:
    arguments = {name: value for name, value in (config.get("model_args") or {}).items() if name != "num_classes"}
    try:
        return Architecture(name=config["architecture"].split(".")[0], arguments=arguments)
    except (ValidationError, AttributeError) as error:
        rule = f"timm's description of a model ({str(error).splitlines()[0]})"
        raise UserError.about("config.json", str(config["architecture"]), rule, "correct the file") from None


def _names(tensors: dict[str, Any]) -> set[str]:
    return {name for name in tensors if name.rpartition(".")[2] not in _DERIVED}


def _size(architecture: Architecture) -> int | None:
    if is_torchvisions(architecture.name):
        return USUAL_PX
    config = timm.get_pretrained_cfg(architecture.name.split(".")[0], allow_unregistered=True)
    return None if config is None else config.input_size[-1]


def _by_layout(file: CheckpointFile, head: _Head, architecture: str | None, selection: Selection) -> _Model:
    """Return a model in any layout that encoders are read from, with its head under timm's name for it."""
    encoder = recognise(file, None if architecture is None else state(architecture), selection)
    known = encoder.inferred.architecture
    name, kept = _classifier(known), is_torchvisions(known.name)  # its hidden layers are named as heads are
    weights = {key: tensor for key, tensor in encoder.weights.items() if kept or not _is_head(key)}
    weights[f"{name}.weight"] = head.weight
    if head.bias is not None:
        weights[f"{name}.bias"] = head.bias
    inferred = encoder.inferred
    remarks = (*inferred.remarks, *inferred.assumed.values())
    size, normalisation = inferred.image_size_px, encoder.normalisation
    return _Model(
        encoder.layout.name, known, weights, size, encoder.stage, normalisation=normalisation, remarks=remarks
    )


def _classifier(architecture: Architecture) -> str:
    """Return what the model calls the layer of the logits."""
    if is_torchvisions(architecture.name):
        with torch.device("meta"):
            model: Any = build_backbone(architecture, None, num_classes=1)
        return str(model.head_name)
    config: Any = timm.get_pretrained_cfg(architecture.name, allow_unregistered=True)
    found: str = config.classifier if isinstance(config.classifier, str) else config.classifier[0]
    return found


def _is_head(name: str) -> bool:
    return name.startswith(_BEGINNINGS) and not name.startswith(_LAST_NORM)
