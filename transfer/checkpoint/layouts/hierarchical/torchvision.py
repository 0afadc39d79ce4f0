"""Networks of torchvision that are run by torchvision's own classes: their names are kept.

Its ResNet, ConvNeXt, Swin and ViT have layouts of their own, since timm computes the same with them. Sources:
torchvision `models/densenet.py` (and `_load_state_dict` there, for files before torch 0.4), `efficientnet.py`,
`maxvit.py`, `mobilenetv2.py`, `mobilenetv3.py`, `regnet.py`, `vgg.py`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from transfer.checkpoint.layouts.hierarchical.resnet import with_counters
from transfer.checkpoint.layouts.layout import Layout, Shapes, Weights
from transfer.checkpoint.layouts.pairs import anywhere, without

NAME = "torchvision-convnet"


@dataclass(frozen=True)
class _Kind:
    """Networks of one class."""

    module: str
    """torchvision's."""
    block: str
    """A pattern that matches tensors of their blocks, and of no other layout."""
    head: str
    """What the names of the last layer begin with."""


_KINDS = (
    _Kind("densenet", r"features\.denseblock\d+\.denselayer\d+\..+", "classifier."),
    _Kind("efficientnet", r"features\.\d+\.\d+\.block\.\d+\.\d\.weight", "classifier.1."),
    _Kind("maxvit", r"blocks\.\d+\.layers\.\d+\.layers\.(MBconv|(window|grid)_attention)\..+", "classifier.5."),
    _Kind("mobilenetv2", r"features\.\d+\.conv\.\d+\.\d\.weight", "classifier.1."),
    _Kind("mobilenetv3", r"features\.\d+\.block\.\d+\.\d\.weight", "classifier.3."),
    _Kind("regnet", r"trunk_output\.block\d+\.block\d+-\d+\..+", "fc."),
    _Kind("vgg", r"features\.\d+\.weight", "classifier.6."),
)
_HIDDEN = ("classifier.0.weight", "classifier.3.weight")
"""Of VGG's head, whose other names are a list of layers as many networks have it."""
_OLD = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.\w+)$")


def kind_of(shapes: Shapes) -> str | None:
    """Return the module of torchvision's that has such a network; None for tensors of other layouts."""
    found = _kind(shapes)
    return found.module if found else None


def _kind(shapes: Shapes) -> _Kind | None:
    found = next((kind for kind in _KINDS if anywhere(shapes, kind.block)), None)
    if found is not None and found.module == "vgg":
        hidden = [shapes[name] for name in _HIDDEN if len(shapes.get(name, ())) == 2]
        kernels = [shape for name, shape in shapes.items() if re.fullmatch(found.block, name) and len(shape) == 4]
        return found if kernels and any(4096 in shape for shape in hidden) else None
    return found


def _to_timm(weights: Weights) -> Weights:
    """Keep the names but for those of old files, without the last layer."""
    kind = _kind({name: tuple(tensor.shape) for name, tensor in weights.items()})
    assert kind is not None, "recognised before"
    found = {_OLD.sub(r"\1\2", name): tensor for name, tensor in weights.items()}
    return with_counters(without(found, (kind.head,)))


TORCHVISION_LAYOUTS: tuple[Layout, ...] = (
    Layout(
        NAME,
        "torchvision",
        "DenseNet, EfficientNet (V2), MaxViT, MobileNetV2, MobileNetV3, RegNet and VGG of torchvision",
        lambda shapes: _kind(shapes) is not None,
        _to_timm,
        dict,
    ),
)
