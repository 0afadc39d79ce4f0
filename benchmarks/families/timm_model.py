"""What timm's own interface says of any of its models: blocks, layers, features, head."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import torch
from timm.models import group_parameters
from torch import Tensor, nn

_CONTAINERS = (nn.Sequential, nn.ModuleList)
_STAGES = ("blocks", "stages", "layers", "levels")
"""What timm's models call the list of their blocks, or of their stages."""
_NUMBERED = ("layer", "s")
"""What some call their four stages, before the number."""


def blocks(model: nn.Module) -> list[nn.Module]:
    """Return a model's blocks in order, through all stages; none where they are not where timm usually has them."""
    found: list[nn.Module] = []
    listed = (each for name in _STAGES if isinstance(each := getattr(model, name, None), _CONTAINERS))
    for stage in next(listed, ()):
        inner = getattr(stage, "blocks", None)
        inside = inner if isinstance(inner, _CONTAINERS) else stage if isinstance(stage, _CONTAINERS) else [stage]
        found += inside
    for prefix in () if found else _NUMBERED:
        stages = [getattr(model, f"{prefix}{number}", None) for number in (1, 2, 3, 4)]
        found += [block for stage in stages if isinstance(stage, nn.Module) for block in stage.children()]
    return found


def layers(model: Any) -> tuple[int, Callable[[str], int]]:
    """Return how many layers a model has by timm's groups, and the function from a parameter's name to its layer."""
    by_name: dict[str, int] = group_parameters(model, model.group_matcher(coarse=False), reverse=True)
    last = max(by_name.values())
    return last + 1, lambda name: by_name.get(name, last)


def features(model: Any) -> list[tuple[int, int]]:
    """Return channels and stride (px) of each of a model's intermediate features, in order; none without any."""
    if not hasattr(model, "forward_intermediates"):
        return []
    about = getattr(model, "feature_info", None) or []
    listed = about if isinstance(about, list) else about.info
    return [(int(each["num_chs"]), int(each["reduction"])) for each in listed]


def strides(model: Any) -> list[int]:
    """Return the strides (px) of a model's intermediate features in order, each once: a plain transformer has one."""
    return list(dict.fromkeys(stride for _, stride in features(model)))


def channels(model: nn.Module) -> int:
    """Return the number of channels of a model's images."""
    own = getattr(model, "in_chans", None)
    first = next((each for each in model.modules() if isinstance(each, nn.Conv2d)), None)
    return int(own) if isinstance(own, int) else int(first.in_channels) if first is not None else 3


def built_for(model: Any, side_px: object, as_built: str | None = None) -> None:
    """Note at a model the side of the images that it was built for, and with which arguments; few of timm's show it."""
    model.built_as = as_built
    if isinstance(side_px, int):
        model.built_for_px = side_px


def built_px(model: Any) -> int:
    """Return the side of the images that a model was built for, or of those timm names for it."""
    shown = getattr(getattr(model, "patch_embed", None), "img_size", None)
    usual = shown[0] if isinstance(shown, tuple) else model.pretrained_cfg["input_size"][-1]
    found: Any = getattr(model, "built_for_px", usual)
    return int(found)


def head_names(model: nn.Module) -> frozenset[str]:
    """Return the names of the tensors of a model's classifier, and of the auxiliary one that VOLO has."""
    own: Any = getattr(model, "get_classifier", lambda: None)()
    heads = [*(own if isinstance(own, tuple | list) else [own]), getattr(model, "aux_head", None)]
    prefixes = [f"{name}." for name, module in model.named_modules() if name and any(module is each for each in heads)]
    return frozenset(name for name in model.state_dict() if name.startswith(tuple(prefixes)))


def as_vector(found: Any) -> Tensor:
    """Return what a head takes as one vector of an image [B, D]: several are joined, tokens and maps averaged."""
    parts = found if isinstance(found, tuple | list) else [found]
    vectors = [
        part.mean(dim=1) if part.ndim == 3 else part.flatten(2).mean(dim=2) if part.ndim == 4 else part
        for part in parts
    ]
    return vectors[0] if len(vectors) == 1 else torch.cat(vectors, dim=1)


def pools_by_attention(model: Any) -> bool:
    """Tell whether a model's head takes the output of an attention pool."""
    return getattr(model, "attn_pool", None) is not None or type(
        getattr(model, "global_pool", None)
    ).__name__.startswith("AttentionPool")


def tokens(model: Any, output: Any) -> Tensor | None:
    """Return the tokens [B, N, D] of an output; None for one that is no single tensor of tokens or of a map."""
    if not isinstance(output, Tensor) or output.ndim not in (3, 4):
        return None
    if output.ndim == 3:
        return output
    last = getattr(model, "output_fmt", "NCHW") == "NHWC"
    return output.flatten(1, 2) if last else output.flatten(2).transpose(1, 2)


def resized(model: nn.Module, name: str, tensor: Tensor) -> Tensor | None:
    """Return a tensor in the shape that the model has under this name, as timm loads it; None where timm cannot."""
    module = importlib.import_module(type(model).__module__)
    convert = getattr(module, "checkpoint_filter_fn", None)
    state = model.state_dict()
    if convert is None or name not in state:
        return None
    try:
        found = convert({**state, name: tensor}, model).get(name)
    except (RuntimeError, ValueError, AssertionError, KeyError, IndexError, AttributeError, TypeError):
        return None
    return found if isinstance(found, Tensor) and found.shape == state[name].shape else None
