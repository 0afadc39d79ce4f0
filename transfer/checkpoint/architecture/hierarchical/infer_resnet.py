"""The architecture of a ResNet, read from its tensors in timm's layout."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

from pydantic import JsonValue

from benchmarks.encoders import Architecture
from benchmarks.errors import UserError
from transfer.checkpoint.architecture.inferred import Inferred
from transfer.checkpoint.architecture.majority import Sizes, depths, sizes_of, usual
from transfer.checkpoint.layouts.layout import Weights

STRIDES = (
    "strides, pooling and anti-aliasing are taken to be torchvision's, as no tensor shows them: a stage halves its map "
    "in the 3x3 convolution (in caffe's models, in the one before)"
)
OTHER = "add --architecture NAME for one of timm's ResNets; for a ResNet of your own, --encoder python:..."
_BASIC = {(2, 2, 2, 2): "resnet18", (3, 4, 6, 3): "resnet34"}
_BOTTLENECK = {
    (2, 2, 2, 2): "resnet26",
    (3, 4, 6, 3): "resnet50",
    (3, 4, 23, 3): "resnet101",
    (3, 8, 36, 3): "resnet152",
    (3, 24, 36, 3): "resnet200",
}
# Of the models that timm names by cardinality and width; all others are a plain ResNet's name with arguments.
_WIDE = {
    (50, 32, 4): "resnext50_32x4d",
    (101, 32, 4): "resnext101_32x4d",
    (101, 32, 8): "resnext101_32x8d",
    (101, 32, 16): "resnext101_32x16d",
    (101, 64, 4): "resnext101_64x4d",
    (50, 1, 128): "wide_resnet50_2",
    (101, 1, 128): "wide_resnet101_2",
}
_KNOWN = re.compile(
    r"(conv1|bn1)\..+|layer[1-4]\.\d+\.(conv[123]|bn[123])\.\w+|layer[1-4]\.\d+\.downsample\.[012]\.\w+"
)


def infer_resnet(weights: Weights) -> Inferred:
    """Return the ResNet that `weights` fill. Raises UserError, naming the tensor, for one that timm cannot build."""
    sizes = sizes_of(weights)
    _require_statistics(weights)
    if unknown := [name for name in sizes if not _KNOWN.fullmatch(name)]:
        raise UserError.about("tensor", unknown[0], "one of a ResNet's blocks (conv, bn, downsample)", OTHER)
    layers = depths(sizes, r"layer(\d+)\.(\d+)\.", "layer{}", first=1)
    if len(layers) != 4:
        raise UserError.about("layers", len(layers), "4 stages", OTHER)
    stem = _stem(sizes)
    widths = _widths(sizes)
    usual_names = _BOTTLENECK if widths.bottleneck else _BASIC
    name = usual_names.get(layers, "resnet50" if widths.bottleneck else "resnet18")
    arguments: dict[str, JsonValue] = {} if layers in usual_names else {"layers": list(layers)}
    if not arguments and (wide := _WIDE.get((int(name[6:]), widths.cardinality, widths.base_width))):
        name = wide
    elif (widths.cardinality, widths.base_width) != (1, 64):
        arguments |= {"cardinality": widths.cardinality, "base_width": widths.base_width}
    if widths.planes != (64, 128, 256, 512):
        arguments["channels"] = list(widths.planes)
    in_chans = usual(sizes, r"conv1(\.0)?\.weight", 4, "conv1.weight")[1]
    arguments |= stem | ({"in_chans": in_chans} if in_chans != 3 else {})
    return Inferred(Architecture(name=name, arguments=arguments), None, 1, None, assumed={"strides": STRIDES})


def _require_statistics(weights: Weights) -> None:
    """Raise UserError for norms that are no batch norms, or batch norms whose statistics are merged into the rest."""
    means = [tensor for name, tensor in weights.items() if name.endswith(".running_mean")]
    if not means:
        rule = "batch norms, with running_mean and running_var"
        remedy = "of group norms add --architecture resnet50_gn; else --encoder python:MODULE:FACTORY"
        raise UserError.about("norms", "without running statistics", rule, remedy)
    if not any(mean.is_meta or mean.any() for mean in means):
        rule = (
            "the statistics of a training: Caffe's models (*_caffe of mmdet) have theirs merged into weight and bias, "
        )
        rule += "and take BGR images of 0 to 255, which timm does not"
        remedy = f"take torchvision's weights, or {OTHER}"
        raise UserError.about("running means of all batch norms", "0", rule, remedy)


@dataclass(frozen=True)
class _Widths:
    bottleneck: bool
    planes: tuple[int, ...]
    """timm's `channels`: the width of each stage, before a bottleneck's factor of four."""
    cardinality: int
    base_width: int


def _widths(sizes: Sizes) -> _Widths:
    bottleneck = any(re.fullmatch(r"layer\d\.\d+\.conv3\.weight", name) for name in sizes)
    last, factor = ("3", 4) if bottleneck else ("2", 1)
    evidence = rf"(conv{last}\.weight|bn{last}\.(weight|bias|running_mean|running_var))"
    planes = tuple(
        Counter(
            shape[0] for name, shape in sizes.items() if shape and re.fullmatch(rf"layer{n}\.\d+\.{evidence}", name)
        ).most_common(1)[0][0]
        // factor
        for n in range(1, 5)
    )
    if not bottleneck:
        return _Widths(False, planes, 1, 64)
    inner = usual(sizes, r"layer1\.\d+\.conv2\.weight", 4, "layer1.0.conv2.weight")
    cardinality = max(inner[0] // max(inner[1], 1), 1)
    return _Widths(True, planes, cardinality, inner[0] * 64 // (planes[0] * cardinality))


def _stem(sizes: Sizes) -> dict[str, JsonValue]:
    """Return timm's arguments of the stem: none for one 7x7 convolution, else those of ResNet-C, -D, -S or -T."""
    averaged = any(re.fullmatch(r"layer\d\.0\.downsample\.1\.weight", n) and len(s) == 4 for n, s in sizes.items())
    found: dict[str, JsonValue] = {"avg_down": True} if averaged else {}
    if "conv1.3.weight" in sizes or "conv1.0.weight" in sizes:
        first, second, third = (usual(sizes, rf"conv1\.{n}\.weight", 4, f"conv1.{n}.weight") for n in (0, 3, 6))
        width = Counter((second[0], third[1], third[0] // 2)).most_common(1)[0][0]  # as most of them have it
        return found | {"stem_type": "deep_tiered" if first[0] < width else "deep", "stem_width": width}
    kernel = usual(sizes, r"conv1\.weight", 4, "conv1.weight")
    if kernel[2:] != (7, 7) or kernel[0] != 64:
        rule = "[64, channels, 7, 7], the only stem of one convolution in timm's ResNets"
        raise UserError.about("conv1.weight", list(kernel), rule, OTHER)
    return found
