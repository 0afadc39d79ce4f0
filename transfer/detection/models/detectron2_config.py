"""detectron2's own models by their config: YAML that makes no objects, and models that take nothing from elsewhere.

detectron2 reads a config with YAML's unsafe loader where it finds a tag; here plain values alone are read.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.modeling import META_ARCH_REGISTRY
from pydantic import JsonValue
from torch import nn

from benchmarks.errors import UserError, did_you_mean
from benchmarks.files.regular import regular
from benchmarks.files.yaml_files import read_yaml

BASE, VERSION = "_BASE_", 2
GROUPS = ("MODEL", "INPUT", "TEST")
"""What a prediction depends on; the other groups are about training and data."""
ARCHITECTURES = ("GeneralizedRCNN", "RetinaNet")
MOST_FILES, LARGEST, LONGEST = 20, 2**20, 256


def read_detectron2_config(path: Path) -> dict[str, JsonValue]:
    """Return what a config file, on top of the one that it is based on, says of the model and its tests.

    Raises UserError for what is no YAML of plain values, and for a config of detectron2's first version.
    """
    if not path.is_file():
        raise UserError.about("--config", str(path), "a config of detectron2 (.yaml)", "check the path")
    config = _with_base(path, MOST_FILES)
    if config.get("VERSION", VERSION) != VERSION:
        rule = f"a config of version {VERSION}"
        raise UserError.about("VERSION", repr(config["VERSION"])[:80], rule, "let detectron2 write it: cfg.dump()")
    return {name: _plain(config[name], name) for name in GROUPS if name in config}


def _with_base(path: Path, left: int) -> dict[str, Any]:
    if left == 0:
        rule = f"at most {MOST_FILES} files, none of which is based on itself"
        raise UserError.about(BASE, str(path), rule, "correct the config's _BASE_")
    try:
        config = read_yaml(regular(path))
    except OSError as error:
        rule = f"a file that exists and may be read ({error.strerror or error})"
        raise UserError.about(
            BASE, str(path), rule, "put the base file there, or let detectron2 write out the whole: cfg.dump()"
        ) from None
    base = config.pop(BASE, None)
    if base is None:
        return config
    if not isinstance(base, str):
        raise UserError.about(BASE, repr(base)[:80], "the path of one file", "let detectron2 write it: cfg.dump()")
    return _laid_over(_with_base(path.parent / base, left - 1), config)


def _laid_over(base: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(base)
    for name, value in config.items():
        below = found.get(name)
        found[name] = _laid_over(below, value) if isinstance(value, dict) and isinstance(below, dict) else value
    return found


def _plain(value: Any, where: str) -> JsonValue:
    if isinstance(value, dict):
        return {str(name): _plain(inner, f"{where}.{name}") for name, inner in value.items()}
    if isinstance(value, list) and len(value) <= LONGEST:
        return [_plain(each, f"{where}[{at}]") for at, each in enumerate(value)]
    if value is None or isinstance(value, bool) or (isinstance(value, str) and len(value) <= LONGEST):
        return value
    if isinstance(value, int | float) and abs(value) <= LARGEST:
        return value
    rule = f"a number up to {LARGEST}, a name, true, false, null, or at most {LONGEST} of them"
    raise UserError.about(where, repr(value)[:80], rule, "correct the config")


def whole_config(config: Mapping[str, Any], device: str) -> Any:
    """Return detectron2's defaults with what `config` says. Raises UserError for what detectron2 does not know."""
    cfg = get_cfg()
    try:
        cfg.merge_from_other_cfg(CfgNode(dict(config)))
    except (KeyError, ValueError, AssertionError, TypeError, AttributeError) as error:
        rule = f"a config of detectron2 itself, not of a project on top of it ({type(error).__name__}: {error})"
        raise UserError.about("--config", "(see the rule)", rule, "correct it") from None
    model, architecture = cfg.MODEL, cfg.MODEL.META_ARCHITECTURE
    if architecture not in ARCHITECTURES:
        rule = f"one of {', '.join(ARCHITECTURES)}"
        raise UserError.about("MODEL.META_ARCHITECTURE", architecture, rule, did_you_mean(architecture, ARCHITECTURES))
    for name, why in (("LOAD_PROPOSALS", "proposals of another model"), ("KEYPOINT_ON", "keypoints")):
        if model[name]:
            rule = f"false: models with {why} are not scored"
            raise UserError.about(f"MODEL.{name}", True, rule, "score it with detectron2")
    model.WEIGHTS, model.DEVICE = "", device
    model.ROI_BOX_HEAD.USE_FED_LOSS = False  # of training alone, and looks up a data set
    return cfg


def number_of_classes(cfg: Any) -> int:
    """Return how many categories the model finds."""
    retina = cfg.MODEL.META_ARCHITECTURE == "RetinaNet"
    found: int = cfg.MODEL.RETINANET.NUM_CLASSES if retina else cfg.MODEL.ROI_HEADS.NUM_CLASSES
    return found


def built_detector(cfg: Any) -> nn.Module:
    """Build the model with random weights on `cfg.MODEL.DEVICE`. Raises UserError where detectron2 refuses it."""
    logging.getLogger("detectron2").setLevel(logging.WARNING)
    try:
        model: nn.Module = META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE)(cfg)
    except (KeyError, ValueError, AssertionError, TypeError, AttributeError, ImportError, RuntimeError) as error:
        rule = f"what detectron2 can build here ({type(error).__name__}: {error})"
        raise UserError.about("MODEL", cfg.MODEL.META_ARCHITECTURE, rule, "correct the config") from None
    return model.to(torch.device(cfg.MODEL.DEVICE)).eval()
