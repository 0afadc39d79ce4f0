"""Small encoders of timm, transformers, torchvision and others with random weights, as people have them on disk."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn

from benchmarks.families.table import family_of
from benchmarks.families.timm_model import as_vector, built_for
from tests.support.random_weights import randomise
from tests.support.timm_models import MODELS
from tests.transfer.checkpoint.library_zoo import FOREIGN, SIDE, Foreign


@dataclass(frozen=True)
class Encoder:
    """One encoder in a folder, as its library saves it, and what that library makes of images with it."""

    folder: Path
    """Holds the weights, and config.json where the library writes one."""
    side_px: int
    vector: Callable[[Tensor], Tensor] | None
    """Returns what the library's own head takes [B, D]; None where the library has no such vector."""
    maps: Callable[[Tensor, tuple[int, ...]], list[Tensor]]
    """Returns maps [B, D, H/s, W/s] of images, of the strides or of the last alone; or tokens [B, N, D] after the last
    norm, class token first."""
    stated: Mapping[str, Any] = field(default_factory=dict)
    """timm's name and arguments of the architecture; empty where they are those that the folder shows."""


def of_timm(name: str, folder: Path) -> Encoder:
    """Return one of timm's models, saved as timm saves what it puts on the hub."""
    arguments = MODELS[name][0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model: Any = _moved(timm.create_model(name, num_classes=5, **arguments))
    built_for(model, arguments.get("img_size"))
    side = family_of(model).built_px if model.pretrained_cfg.get("fixed_input_size") else SIDE
    shared = name.startswith("coat_")  # tensors of several names, which safetensors does not write
    sizes = {"model_args": dict(arguments), "model_config": {"input_size": (3, side, side)}}
    timm.models.save_for_hf(model, folder, **sizes, safe_serialization=not shared)

    def maps(images: Tensor, strides: tuple[int, ...]) -> list[Tensor]:
        found = model.forward_intermediates(images, intermediates_only=True)
        listed = [each["reduction"] for each in model.feature_info]
        last = dict(zip(listed, found, strict=True))
        return [last[stride] for stride in strides]

    vector = lambda x: as_vector(model.forward_head(model.forward_features(x), pre_logits=True))  # noqa: E731
    return Encoder(folder, side, vector, maps, stated={"name": name, "arguments": _plain(arguments)})


def of_another(make: Callable[[Path], Foreign], folder: Path) -> Encoder:
    """Return one of those that are read from the files of other libraries."""
    foreign = make(folder)
    foreign.save(folder)
    return Encoder(folder, SIDE, foreign.pooled, lambda images, _strides: [foreign.dense(images)])


def of_torchvision(name: str, folder: Path) -> Encoder:
    """Return one of torchvision's classifiers that its own class runs."""
    model: Any = _moved(torchvision.models.get_model(name, num_classes=5)).eval()
    _save(model, folder)
    head = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]

    def vector(images: Tensor) -> Tensor:
        taken: list[Tensor] = []
        hook = head.register_forward_pre_hook(lambda _, inputs: taken.append(inputs[0]))
        model(images)
        hook.remove()
        return taken[0]

    def last(images: Tensor, _strides: tuple[int, ...]) -> list[Tensor]:
        if hasattr(model, "features"):
            found = model.features(images)
            return [found.relu() if name.startswith("densenet") else found]
        found = model.stem(images)
        for part in [model.trunk_output] if hasattr(model, "trunk_output") else model.blocks:
            found = part(found)
        return [found]

    side = 224 if name.startswith("maxvit") else SIDE
    return Encoder(folder, side, vector, last, {"name": f"torchvision:{name}"})


def torchvision_vit(folder: Path) -> Encoder:
    """Return a ViT of the usual heads, which no tensor shows."""
    model: Any = _moved(torchvision.models.VisionTransformer(SIDE, 16, 2, 3, 192, 384))
    _save(model, folder)

    def tokens(images: Tensor) -> Tensor:
        patches = model._process_input(images)
        found: Tensor = model.encoder(torch.cat([model.class_token.expand(len(images), -1, -1), patches], dim=1))
        return found

    return Encoder(folder, SIDE, lambda x: tokens(x)[:, 0], lambda images, _strides: [tokens(images)])


def torchvision_swin(folder: Path) -> Encoder:
    """Return a Swin whose windows fit every map."""
    sizes: dict[str, Any] = {"embed_dim": 16, "depths": [1, 1, 2, 1], "num_heads": [1, 2, 2, 4], "window_size": [2, 2]}
    model: Any = _moved(torchvision.models.SwinTransformer([4, 4], **sizes))
    _save(model, folder)

    def maps(images: Tensor, _strides: tuple[int, ...]) -> list[Tensor]:
        found = []
        for number, part in enumerate(model.features):
            images = part(images)
            found += [images.permute(0, 3, 1, 2)] if number % 2 else []
        return found

    return Encoder(folder, SIDE, lambda x: model.norm(model.features(x)).mean(dim=(1, 2)), maps)


def _save(model: nn.Module, folder: Path) -> None:
    save_file({name: each.contiguous().clone() for name, each in model.state_dict().items()}, folder / "f.safetensors")


def _moved(model: Any) -> Any:
    """Return a model whose weights and running statistics are random, but tame."""
    randomise(model)
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d | nn.BatchNorm1d):
            norm.running_mean = torch.randn(norm.num_features) * 0.1
            norm.running_var = torch.rand(norm.num_features) + 1
    return model


def _plain(arguments: dict[str, Any]) -> dict[str, Any]:
    """Return arguments as YAML has them."""
    found: dict[str, Any] = json.loads(json.dumps(arguments))
    return found


TORCHVISION = (
    *("densenet121", "efficientnet_b0", "efficientnet_v2_s", "maxvit_t", "mobilenet_v2", "mobilenet_v3_small"),
    *("regnet_x_400mf", "regnet_y_400mf", "vgg11"),
)
ENCODERS: dict[str, Callable[[Path], Encoder]] = {
    **{f"timm, {name}": partial(of_timm, name) for name in MODELS},
    **{name: partial(of_another, make) for name, make in FOREIGN.items()},
    "ViT of torchvision": torchvision_vit,
    "Swin of torchvision": torchvision_swin,
    **{f"torchvision, {name}": partial(of_torchvision, name) for name in TORCHVISION},
}
