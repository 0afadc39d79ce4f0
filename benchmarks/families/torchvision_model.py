"""Networks that torchvision builds, used as timm's models are: `torchvision:NAME`.

timm has networks of the same names, which compute otherwise: torchvision's pad their strides alike on all sides, have
other eps, pool before the hidden layers of their heads, and divide attention in MaxViT by the width of all heads. No
renaming of tensors corrects that, so a file of torchvision's is run by the class that it was trained in. Its ResNet,
ConvNeXt, Swin and ViT compute as timm's do, and are read into these.

Source: torchvision `models/densenet.py`, `efficientnet.py`, `maxvit.py`, `mobilenetv2.py`, `mobilenetv3.py`,
`regnet.py`, `vgg.py`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

SCHEME = "torchvision:"
KINDS: Final = ("densenet", "efficientnet", "maxvit", "mobilenetv2", "mobilenetv3", "regnet", "vgg")
"""torchvision's modules whose networks are built here."""
USUAL_PX = 224
_TRUNK = ("features", "stem", "trunk_output", "blocks")
"""What torchvision's classes call the parts that turn images into their last map, in the order in which they run."""
_OPEN = ("Sequential", "ModuleList", "AnyStage", "MaxVitBlock")
"""Classes whose children run one after the other, and nothing else."""
_USUAL_RATE = 0.2
"""The rate of stochastic depth that torchvision builds with; its layers have shares of it."""


def is_torchvisions(name: str) -> bool:
    """Return whether an architecture is one that torchvision builds."""
    return name.startswith(SCHEME)


@cache
def networks(kind: str) -> tuple[str, ...]:
    """Return the names of the networks in a module of torchvision's, as architectures have them."""
    from torchvision import models  # heavy

    built = {name: models.get_model_builder(name).__module__ for name in models.list_models(module=models)}
    return tuple(SCHEME + name for name, module in built.items() if module == f"{models.__name__}.{kind}")


def is_network(name: str) -> bool:
    """Return whether torchvision has a network of this name among those that are built here."""
    return is_torchvisions(name) and any(name in networks(kind) for kind in KINDS)


def takes_one_size(name: str) -> bool:
    """Return whether a network is built for images of one size: MaxViT, whose grids divide the whole image."""
    return name in networks("maxvit")


class TorchvisionModel(nn.Module):
    """One of torchvision's classifiers, with tensors under torchvision's names and the interface of timm's models."""

    def __init__(
        self, name: str, num_classes: int, drop_path_rate: float = 0.0, img_size: int | None = None, in_chans: int = 3
    ) -> None:
        """Build the network; `num_classes=0` leaves the last layer of its head out, not the hidden ones before it.

        Nothing is dropped but paths. Raises ValueError or TypeError for what torchvision does not build.
        """
        super().__init__()
        with _counting_on_cpu():
            built = _create(name, img_size)
        for child, module in built.named_children():
            self.add_module(child, module)
        self.parts = _parts(self)
        """The names of what runs one after the other, from the image to the last map."""
        self.head_name = [part for part, module in self.named_modules() if isinstance(module, nn.Linear)][-1]
        head: Any = self.get_classifier()
        self.head_hidden_size = int(head.in_features)
        self._replace(self.head_name, _head(head, num_classes))
        self.in_chans = in_chans
        first, kernel = next((part, each) for part, each in self.named_modules() if isinstance(each, nn.Conv2d))
        if in_chans != kernel.in_channels:
            self._replace(first, _for_channels(kernel, in_chans))
        for module in self.modules():
            layer: Any = module
            if isinstance(module, nn.Dropout):
                layer.p = 0.0
            if type(module).__name__ == "StochasticDepth":
                layer.p *= drop_path_rate / _USUAL_RATE
        side = img_size or USUAL_PX
        self.feature_info: list[dict[str, int]] = list(map(dict, _features(name, img_size)))
        self.num_features = self.feature_info[-1]["num_chs"]
        self.pretrained_cfg = {"input_size": (in_chans, side, side), "first_conv": first}

    def _replace(self, name: str, module: nn.Module) -> None:
        owner, _, last = name.rpartition(".")
        self.get_submodule(owner)._modules[last] = module

    def get_classifier(self) -> nn.Module:
        """Return the last layer of the head."""
        return self.get_submodule(self.head_name)

    def _run(self, images: Tensor) -> Iterator[Tensor]:
        for part in self.parts:
            images = self.get_submodule(part)(images)
            yield images

    def forward_features(self, images: Tensor) -> Tensor:
        """Return the last map [B, D, h, w]."""
        *_, last = self._run(images)
        return last

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        """Return logits of the last map, or with `pre_logits` what the last layer takes [B, head_hidden_size]."""
        pool = getattr(self, "avgpool", nn.functional.adaptive_avg_pool2d)
        found: Tensor = (pool(features) if isinstance(pool, nn.Module) else pool(features, 1)).flatten(1)
        outer, _, _ = self.head_name.rpartition(".")
        hidden = list(self.get_submodule(outer).children())[:-1] if outer else []
        for module in hidden:
            if not isinstance(module, nn.AdaptiveAvgPool2d | nn.Flatten):
                found = module(found)
        logits: Tensor = found if pre_logits else self.get_classifier()(found)
        return logits

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [B, classes], or vectors [B, head_hidden_size] where it was built without a last layer."""
        return self.forward_head(self.forward_features(images))

    def forward_intermediates(
        self, images: Tensor, indices: Sequence[int], intermediates_only: bool = True
    ) -> list[Tensor]:
        """Return the maps [B, D, h, w] at these positions of `feature_info`."""
        assert intermediates_only, "the last map is one of them"
        wanted = [self.feature_info[index]["part"] for index in indices]
        found = {part: each for part, each in enumerate(self._run(images)) if part in wanted}
        return [found[part] for part in wanted]


def _create(name: str, img_size: int | None) -> nn.Module:
    from torchvision.models import get_model  # heavy

    sizes: Mapping[str, Any] = {} if img_size is None else {"input_size": (img_size, img_size)}
    found: nn.Module = get_model(name.removeprefix(SCHEME), weights=None, **sizes)
    if name in networks("densenet"):
        found.relu = nn.ReLU()  # which torchvision applies without a module
    return found


def _parts(model: nn.Module) -> tuple[str, ...]:
    def inside(name: str, module: nn.Module) -> Iterator[str]:
        if type(module).__name__ not in _OPEN:
            yield name
            return
        for child, inner in module.named_children():
            yield from inside(f"{name}.{child}", inner)

    trunk = [(name, module) for name in _TRUNK if (module := getattr(model, name, None)) is not None]
    after = ("relu",) if hasattr(model, "relu") else ()
    return (*(part for name, module in trunk for part in inside(name, module)), *after)


def _head(head: nn.Linear, num_classes: int) -> nn.Module:
    if not num_classes:
        return nn.Identity()
    found = nn.Linear(head.in_features, num_classes, bias=head.bias is not None)
    nn.init.trunc_normal_(found.weight, std=0.02)
    if found.bias is not None:
        nn.init.zeros_(found.bias)
    return found


def _for_channels(kernel: nn.Conv2d, channels: int) -> nn.Conv2d:
    sizes: Any = {name: getattr(kernel, name) for name in ("kernel_size", "stride", "padding")}
    return nn.Conv2d(channels, kernel.out_channels, **sizes, bias=kernel.bias is not None)


@cache
def _features(name: str, img_size: int | None) -> tuple[Mapping[str, int], ...]:
    """Return channels and stride (px) of the last map of each stride, and the number of the part that makes it."""
    side = img_size or USUAL_PX
    with torch.device("meta"), torch.no_grad():
        with _counting_on_cpu():
            model = _create(name, img_size).eval()
        found, last = torch.empty(1, 3, side, side), {}
        for number, part in enumerate(_parts(model)):
            found = model.get_submodule(part)(found)
            last[side // found.shape[2]] = {"num_chs": found.shape[1], "part": number}
    return tuple({**each, "reduction": stride} for stride, each in last.items())


_COUNTS = (torch.arange, torch.tensor)


class _CountsOnCpu(TorchFunctionMode):
    """Counts on the CPU, whatever the default device: RegNet computes widths from the counts, as numbers."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        given = {"device": "cpu", **(kwargs or {})} if func in _COUNTS else kwargs or {}
        return func(*args, **given)


def _counting_on_cpu() -> contextlib.AbstractContextManager[Any]:
    return _CountsOnCpu() if torch.get_default_device().type == "meta" else contextlib.nullcontext()
