"""Files beside a checkpoint that describe it: `FILE.json` of `checkpoint convert`, and timm's config.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import torch
from pydantic import ValidationError

from benchmarks.config_errors import first_own_error
from benchmarks.encoders import Architecture, InitStage, Normalisation, TrainedStage
from benchmarks.engine.backbone import build_backbone, sized
from benchmarks.errors import UserError
from benchmarks.families.table import family_of
from benchmarks.files.json_files import read_json
from transfer.checkpoint.architecture.inferred import Inferred
from transfer.checkpoint.architecture.normalisation import checked
from transfer.checkpoint.files.checkpoint_file import CheckpointFile

_WRAPPED = "timm_wrapper"
"""What transformers calls a model of timm, whose name and arguments its config.json states as timm's does."""


@dataclass(frozen=True)
class Described:
    """What such a file says of the checkpoint that it lies beside."""

    inferred: Inferred
    stage: InitStage | None = None
    epochs: int | None = None
    normalisation: Normalisation | None = None
    in_timm_layout: bool = False
    """Whether it speaks of weights under timm's names only, as timm's config.json does."""


def read_object(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file; empty where there is no such file, or it holds no object.

    Raises UserError for what is no JSON: what it was to say, heads or an activation, no tensor may show.
    """
    try:
        data = read_json(path)
    except OSError:
        return {}
    except ValueError as error:
        remedy = "fetch the file again or correct it, or move it away: what no tensor shows is then assumed, and said"
        raise UserError.about(str(path), f"(damaged: {str(error).splitlines()[0]})", "JSON", remedy) from None
    return data if isinstance(data, dict) else {}


def describe(file: CheckpointFile) -> Described | None:
    """Return what a file beside `file` says of it; None where there is none, or it belongs to other weights.

    Raises UserError where the description names an encoder that timm cannot build.
    """
    about = read_object(file.path.with_name(file.path.name + ".json"))
    if "architecture" in about and about.get("sha256") == file.sha256:
        named = {key: about.get(key) for key in ("arguments", "norm_eps")}
        stage, epochs = about.get("stage"), about.get("epochs")
        inferred = _built(f"{file.path.name}.json", about["architecture"], named, about.get("image_size_px"))
        return Described(
            inferred,
            stage if stage in get_args(TrainedStage) else None,
            epochs if type(epochs) is int else None,
            _normalisation(f"{file.path.name}.json", about, inferred),
        )
    config = read_object(file.path.with_name("config.json"))
    if "architecture" in config and config.get("model_type", _WRAPPED) == _WRAPPED:
        arguments = config.get("model_args") or {}
        if isinstance(arguments, dict):
            arguments = {key: value for key, value in arguments.items() if key != "num_classes"}  # of the head
        inferred = _built("config.json", config["architecture"], {"arguments": arguments}, _size(config))
        normalisation = _normalisation("config.json", _cfg(config), inferred)
        return Described(inferred, normalisation=normalisation, in_timm_layout=True)
    return None


def _size(config: Mapping[str, Any]) -> int | None:
    """Return the image size of timm's config: in `pretrained_cfg`, or at the top in older ones."""
    size = _cfg(config).get("input_size")
    return size[-1] if isinstance(size, list) and size and isinstance(size[-1], int) else None


def _cfg(config: Mapping[str, Any]) -> Mapping[str, Any]:
    cfg = config.get("pretrained_cfg", config)
    return cfg if isinstance(cfg, dict) else {}


def _normalisation(source: str, description: Mapping[str, Any], inferred: Inferred) -> Normalisation | None:
    """Return the mean and std that a description states, None without both. Raises UserError for impossible values."""
    mean, std = description.get("mean"), description.get("std")
    if mean is None or std is None:
        return None
    return checked(source, mean, std, inferred.architecture.in_chans)


def _built(source: str, name: Any, fields: dict[str, Any], image_size_px: Any) -> Inferred:
    """Build the described model without memory for its weights, and return its architecture and sizes."""
    remedy = "fix the file, or move it away: the architecture is then inferred from the tensors as far as they show it"
    try:
        given = Architecture(name=name, **fields)
    except ValidationError as error:
        if own := first_own_error(error):
            raise UserError(f"{source}: {own}") from None
        rule = f"a description ({str(error).splitlines()[0]})"
        raise UserError.about(source, "(damaged)", rule, remedy) from None
    try:
        if image_size_px is not None and "img_size" not in given.arguments:
            given = sized(given, image_size_px)
        return inferred_from(given)
    except UserError as error:
        raise UserError.about(source, name, f"an encoder that timm builds ({error})", remedy) from None


def inferred_from(architecture: Architecture) -> Inferred:
    """Return an architecture with the sizes and window that timm builds it with. Raises UserError where it cannot."""
    with torch.device("meta"):
        model: Any = build_backbone(architecture, None, whole_windows=False)
    size, family = getattr(getattr(model, "patch_embed", None), "img_size", None), family_of(model)
    image_size_px = int(size[0]) if isinstance(size, tuple | list) else None
    return Inferred(architecture, image_size_px, family.patch_size_px, family.window_size)
