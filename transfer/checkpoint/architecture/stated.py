"""The architecture that a person states, compared with the one that a file shows.

Whatever no tensor shows (SwinV2's windows, a plain ViT's heads, an image size) is taken from the statement. Whatever
tensors do show must agree with it, down to names and shapes. Windows and a ViT's image size are exceptions: a name
like `swin_base_patch4_window7_224` says what the model was first trained at, but any fine-tuning may change them.
There the file counts, and the difference is noted; sizes that a statement spells out among its arguments must agree.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.encoders import Architecture, find_architecture
from benchmarks.engine.backbone import build_backbone
from benchmarks.errors import UserError, first_of
from benchmarks.families.table import family_of
from transfer.checkpoint.architecture.beside import inferred_from
from transfer.checkpoint.architecture.inferred import Inferred
from transfer.checkpoint.layouts.layout import Shapes

_SIZES = ("img_size", "window_size", "pretrained_window_sizes")
"""Arguments that may differ for the same weights, once these are resized."""
_SIZED = ("relative_position_bias_table", "pos_embed")
"""Tensors whose shape follows from those arguments."""


@dataclass(frozen=True)
class Stated:
    """An architecture as a person names it."""

    name: str
    architecture: Architecture


def state(name: str) -> Stated:
    """Return the architecture that `--architecture` names.

    It is an encoder of `mimbench list encoders`, a YAML file of that form, or a timm model. Raises UserError for
    anything else.
    """
    architecture = find_architecture(name)
    architecture = architecture.model_copy(update={"name": architecture.name.split(".")[0]})  # timm's tag: weights
    _on_meta(architecture)
    return Stated(Path(name).stem if name.endswith((".yaml", ".yml")) else name, architecture)


def settle(stated: Stated, inferred: Inferred, found: Shapes) -> Inferred:
    """Return the stated architecture with the sizes that the file shows.

    `inferred` is what the file shows, `found` its tensors' shapes in timm's layout. Raises UserError that names each
    property that differs.
    """
    theirs = _on_meta(inferred.architecture)
    size = inferred.image_size_px
    ours = _on_meta(stated.architecture)
    if family_of(ours).windows and "img_size" not in stated.architecture.arguments:
        ours = _on_meta(stated.architecture, size)  # windows as they are clipped at the file's image size
    differences = _differences(family_of(theirs).properties(), family_of(ours).properties(), stated, inferred)
    if not differences.wrong:
        differences = replace(differences, wrong=_unlike(theirs, ours, found))
    if differences.wrong:
        if _fits_better(stated, theirs, found):  # the file was taken for another model than it is
            return inferred_from(stated.architecture)
        raise _disagreement(stated, differences.wrong)
    architecture = stated.architecture if size is None else stated.architecture.at_size(size)
    if differences.sizes:
        architecture = architecture.with_arguments(**family_of(theirs).size_arguments(differences.sizes))
    settled = inferred_from(architecture)
    remarks = tuple(f"{name}: as in the file; {ours} in {stated.name}" for name, (_, ours) in differences.sizes.items())
    assumed = {"img_size": inferred.assumed["img_size"]} if differences.sizes and "img_size" in inferred.assumed else {}
    return replace(
        settled,
        remarks=remarks,
        assumed=assumed,
        image_size_px=None if assumed else settled.image_size_px,
        norms_as_built=inferred.norms_as_built,
    )


def _fits_better(stated: Stated, theirs: nn.Module, found: Shapes) -> bool:
    """Return whether the stated model takes all tensors of a file as they are, and the one inferred does not."""
    wants = shapes_of(stated.architecture)
    has = {name: tuple(tensor.shape) for name, tensor in theirs.state_dict().items()}
    inferred_fits = all(found.get(name) == shape for name, shape in has.items()) and found.keys() <= has.keys()
    return (
        not inferred_fits
        and all(found.get(name) == shape for name, shape in wants.items())
        and (len(found.keys() - wants.keys()) <= len(found.keys() - has.keys()))
    )


def settle_names(stated: Stated, found: Shapes) -> Inferred:
    """Return the stated architecture of a file in timm's own layout, which nothing else recognises.

    Tables of positions may have another size. Raises UserError that names each other tensor that does not fit.
    """
    wants = shapes_of(stated.architecture)
    sized = {name for name in wants if name.rpartition(".")[2] in _SIZED and name in found}
    unlike = {name for name, shape in wants.items() if name not in sized and found.get(name) != shape}
    if unlike:
        raise _disagreement(stated, {name: (found.get(name, "no such tensor"), wants[name]) for name in sorted(unlike)})
    return inferred_from(stated.architecture)


def settle_unclear(stated: Stated, found: Shapes, unclear: UserError) -> Inferred:
    """Return the stated architecture of a file whose tensors alone leave it open, for the reason `unclear`.

    All tensors must fit it. Raises UserError that names each one that does not.
    """
    wants = shapes_of(stated.architecture)
    wrong: dict[str, Values] = {
        name: (found.get(name, "no such tensor"), shape) for name, shape in wants.items() if found.get(name) != shape
    }
    if wrong:
        raise _disagreement(stated, wrong) from unclear
    return inferred_from(stated.architecture)


def check_stated(stated: Stated, architecture: Architecture) -> None:
    """Raise UserError where a statement contradicts an encoder's architecture that is on record."""
    inferred = inferred_from(architecture)
    settle(stated, inferred, {name: tuple(t.shape) for name, t in _on_meta(architecture).state_dict().items()})


Values = tuple[object, object]
"""The file's value, and that of the stated architecture."""


@dataclass(frozen=True)
class _Differences:
    wrong: Mapping[str, Values]
    sizes: Mapping[str, Values]
    """Differences that are allowed: the same weights, resized."""


def _on_meta(architecture: Architecture, image_size_px: int | None = None) -> Any:
    with torch.device("meta"):
        return build_backbone(architecture, image_size_px, whole_windows=False)


def shapes_of(architecture: Architecture) -> dict[str, tuple[int, ...]]:
    """Return names and shapes of a model's tensors without its head, and without counters that files may lack."""
    state = _on_meta(architecture).state_dict()
    return {name: tuple(t.shape) for name, t in state.items() if not name.endswith("num_batches_tracked")}


def _differences(
    theirs: Mapping[str, object], ours: Mapping[str, object], stated: Stated, inferred: Inferred
) -> _Differences:
    if theirs["family"] != ours["family"]:  # everything else would differ as well, and say less
        return _Differences({"family": (theirs["family"], ours["family"])}, {})
    wrong: dict[str, Values] = {}
    sizes: dict[str, Values] = {}
    for name in theirs:
        spelled_out = name in stated.architecture.arguments
        if theirs[name] == ours[name] or _is_unknown(name, inferred):
            continue
        if name not in _SIZES or spelled_out:
            wrong[name] = theirs[name], ours[name]
        elif name != "img_size" or "window_size" not in theirs:  # a Swin's tensors depend on its windows alone
            sizes[name] = theirs[name], ours[name]
    return _Differences(wrong, sizes)


def _is_unknown(name: str, inferred: Inferred) -> bool:
    return name in inferred.assumed or (name == "img_size" and inferred.image_size_px is None)


def _unlike(theirs: nn.Module, ours: nn.Module, found: Shapes) -> dict[str, Values]:
    """Return the tensors that only one of the models has, or that differ in shape; those of many blocks only once.

    A tensor of both models that the file lacks is damage of the file, and is reported when it is loaded.
    """
    has, wants = (
        {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()} for model in (theirs, ours)
    )
    has = {name: shape for name, shape in has.items() if name in found or name in wants}
    has |= {name: found[name] for name in wants if name in found and name not in has}
    unlike: dict[str, Values] = {}
    for name in {**has, **wants}:
        if has.get(name) != wants.get(name) and not (name in has and name in wants and name.endswith(_SIZED)):
            shown = re.sub(r"\.\d+\.", ".*.", name)
            unlike.setdefault(shown, (has.get(name, "no such tensor"), wants.get(name, "no such tensor")))
    return unlike


def _disagreement(stated: Stated, wrong: Mapping[str, Values], limit: int = 8) -> UserError:
    lines = [f"{name}: the file has {theirs}, {stated.name} has {ours}" for name, (theirs, ours) in wrong.items()]
    rule = f"the architecture that the file's tensors show: {first_of(lines, limit, '; ')}"
    remedy = "leave --architecture out, state the one it was trained with, or take the file that was meant"
    return UserError.about("--architecture", stated.name, rule, remedy)
