"""What lies beside a checkpoint and describes it: `FILE.json` of `checkpoint convert`, and timm's config.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import torch
from pydantic import ValidationError

from benchmarks.encoders import Architecture, InitStage, TrainedStage
from benchmarks.engine.backbone import build_backbone, window_size
from benchmarks.errors import UserError
from transfer.checkpoint.files import CheckpointFile
from transfer.checkpoint.inferred import Inferred

# Arguments of timm.create_model itself: they fetch weights or change what is returned, and describe no encoder.
_NOT_THE_ENCODERS = {
    *("pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "pretrained_strict", "pretrained_filter_fn"),
    *("checkpoint_path", "cache_dir", "scriptable", "exportable", "no_jit", "features_only", "out_indices"),
    "num_classes",
}


@dataclass(frozen=True)
class Described:
    """What a description says of the checkpoint it lies beside."""

    inferred: Inferred
    stage: InitStage | None


def read_json(path: Path) -> dict[str, Any]:
    """Return a JSON object; empty where there is no such file, or none that is one."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def describe(file: CheckpointFile, in_timm_layout: bool) -> Described | None:
    """Return what is written beside `file`; None where nothing is, or what is there belongs to other weights.

    Raises UserError where the description names an encoder that timm cannot build.
    """
    about = read_json(file.path.with_name(file.path.name + ".json"))
    if about.get("sha256") == file.sha256 and "architecture" in about:
        named = {key: about.get(key) for key in ("arguments", "norm_eps")}
        stage = about.get("stage")
        return Described(
            _built(f"{file.path.name}.json", about["architecture"], named, about.get("image_size_px")),
            stage if stage in get_args(TrainedStage) else None,
        )
    config = read_json(file.path.with_name("config.json"))
    if in_timm_layout and "architecture" in config and "model_type" not in config:
        arguments = config.get("model_args") or {}
        return Described(_built("config.json", config["architecture"], {"arguments": arguments}, _size(config)), None)
    return None


def _size(config: Mapping[str, Any]) -> int | None:
    """Return the image size of timm's config: in `pretrained_cfg`, or at the top in older ones."""
    cfg = config.get("pretrained_cfg", config)
    size = cfg.get("input_size") if isinstance(cfg, dict) else None
    return size[-1] if isinstance(size, list) and size and isinstance(size[-1], int) else None


def _built(source: str, name: Any, fields: dict[str, Any], image_size_px: Any) -> Inferred:
    """Build the model that is described, without its memory, and return what it is."""
    remedy = "mend the file, or move it away: the tensors then tell what they can"
    try:
        given = Architecture(name=name, **fields)
    except ValidationError as error:
        rule = f"a description ({str(error).splitlines()[0]})"
        raise UserError.about(source, "(damaged)", rule, remedy) from None
    arguments = {key: value for key, value in given.arguments.items() if key not in _NOT_THE_ENCODERS}
    if image_size_px is not None:
        arguments.setdefault("img_size", image_size_px)
    architecture = given.model_copy(update={"arguments": arguments})
    try:
        return inferred_from(architecture)
    except UserError as error:
        raise UserError.about(source, name, f"an encoder that timm builds ({error})", remedy) from None


def inferred_from(architecture: Architecture, notes: tuple[str, ...] = ()) -> Inferred:
    """Return sizes and window as timm builds them. Raises UserError where it cannot."""
    with torch.device("meta"):
        model: Any = build_backbone(architecture, None, whole_windows=False)
    embed = model.patch_embed
    size = getattr(embed, "img_size", None)
    return Inferred(architecture, size[0] if size else None, embed.patch_size[0], window_size(model), notes)
