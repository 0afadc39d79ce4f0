"""One small file for every layout that can be read, and for the spellings a layout has had: its names, wrapped.

Where a true file's names are on record, the sample has those; else our own writer names them, whose names other tests
hold against the libraries themselves.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import timm
import torch
from pydantic import JsonValue

from benchmarks.encoders import Architecture
from benchmarks.engine.backbone import build_backbone
from tests.support.random_weights import randomise
from tests.transfer.checkpoint import vit_files
from tests.transfer.checkpoint.dense_files import detectron2, sam2, sparse
from tests.transfer.checkpoint.library_zoo import FOREIGN
from tests.transfer.checkpoint.official.files import OFFICIAL
from transfer.checkpoint.content.state_dict import find_weights
from transfer.checkpoint.layouts.known import LAYOUTS
from transfer.checkpoint.layouts.layout import Family, Layout, Weights

BY_NAME = {layout.name: layout for layout in LAYOUTS}
SMALL_SWIN: dict[str, JsonValue] = {
    "img_size": 48,
    "embed_dim": 16,
    "depths": [2, 2, 2],
    "num_heads": [1, 2, 4],
    "window_size": 3,
}
SMALL_VIT: dict[str, JsonValue] = {"embed_dim": 128, "depth": 3, "num_heads": 2, "img_size": 48}
SMALL: dict[Family, Architecture] = {
    "swin": Architecture(
        name="swin_tiny_patch4_window7_224",
        arguments=SMALL_SWIN,
    ),
    "swinv2": Architecture(
        name="swinv2_tiny_window8_256",
        arguments=SMALL_SWIN,
    ),
    "vit": Architecture(name="vit_base_patch16_224", arguments=SMALL_VIT),
    "beit": Architecture(name="beit_base_patch16_224", arguments=SMALL_VIT),
    "resnet": Architecture(
        name="resnet50", arguments={"layers": [1, 1, 1, 1], "channels": [8, 16, 16, 32], "cardinality": 2}
    ),
    "convnext": Architecture(name="convnext_tiny", arguments={"depths": [1, 1, 2, 1], "dims": [8, 16, 32, 64]}),
    "torchvision": Architecture(name="torchvision:mobilenet_v3_small"),
}
SMALL_TRANSFORMERS = {
    "timm-clip": Architecture(name="vit_base_patch16_clip_224", arguments={**SMALL_VIT, "depth": 2}),
    "timm-siglip": Architecture(name="vit_base_patch16_siglip_224", arguments={**SMALL_VIT, "depth": 2}),
    "timm-aimv2": Architecture(name="aimv2_large_patch14_224", arguments={**SMALL_VIT, "depth": 2, "img_size": 42}),
    "timm-eva": Architecture(name="eva02_base_patch14_224", arguments={**SMALL_VIT, "depth": 2, "img_size": 42}),
}
"""Of layouts that share a family, and are not written."""
WRAPPERS = {
    "detectron2-swin": "backbone.bottom_up.",
    "huggingface-beit": "beit.",
    "huggingface-dinov2": "dinov2.",
    "huggingface-swin": "swin.",
    "huggingface-swinv2": "swinv2.",
    "huggingface-vit": "vit.",
    "mmpretrain-swinv2": "backbone.",
    "mmseg-swin": "backbone.",
    "microsoft-swin": "encoder.",
    "microsoft-swinv2": "module.encoder.",
}
"""As a layout's own programs wrap names where the encoder is part of a model; else as DistributedDataParallel does."""


@dataclass(frozen=True)
class Sample:
    layout: str
    prefix: str
    tensors: Weights
    """Under the layout's names; in the file all of them begin with `prefix`."""
    stated: Architecture | None = None
    """What a person has to state, as no tensor shows it."""

    def without(self, name: str) -> Weights:
        return {self.prefix + other: tensor for other, tensor in self.tensors.items() if other != name}

    def misshapen(self, name: str) -> Weights:
        """Give one tensor a row too many, or a value to what has no rows."""
        tensor = self.tensors[name]
        longer = torch.cat([tensor, tensor[:1]]) if tensor.ndim else torch.stack([tensor, tensor])
        return {**self.without(name), self.prefix + name: longer}


@cache
def sample(name: str) -> Sample:
    torch.manual_seed(0)
    return SAMPLES[name]()


def _listed(name: str) -> Sample:
    listing = vit_files.LISTINGS[name]
    return Sample(listing.layout, listing.prefix or "module.", vit_files.small_weights(listing))


def _written(layout: Layout) -> Sample:
    architecture = SMALL[layout.family]
    model = build_backbone(architecture, None, whole_windows=False)
    randomise(model)
    assert layout.from_timm is not None, f"{layout.name} needs the list of a real file's keys as fixture"
    return Sample(layout.name, WRAPPERS.get(layout.name, "module."), layout.from_timm(dict(model.state_dict())))


def _dinov2_of_transformers() -> Sample:
    import transformers

    size = {"hidden_size": 128, "num_hidden_layers": 3, "num_attention_heads": 2, "image_size": 56, "patch_size": 14}
    model = transformers.Dinov2Model(transformers.Dinov2Config(**size))
    randomise(model)
    return Sample("huggingface-dinov2", "dinov2.", dict(model.state_dict()))


def _respelt(layout: str, *pairs: tuple[str, str]) -> Callable[[], Sample]:
    def make() -> Sample:
        made = _written(BY_NAME[layout])
        tensors = {}
        for name, tensor in made.tensors.items():
            for present, older in pairs:
                name = name.replace(present, older)
            tensors[name] = tensor
        return Sample(layout, made.prefix, tensors)

    return make


def _of_timm(layout: str) -> Sample:
    architecture = SMALL_TRANSFORMERS[layout]
    model = timm.create_model(architecture.name, num_classes=0, **architecture.arguments)
    randomise(model)
    return Sample(layout, "module.", dict(model.state_dict()), architecture if layout == "timm-clip" else None)


def _official(name: str) -> Sample:
    one = OFFICIAL[name]
    found = find_weights(one.file())
    stated = CLIP if one.layout == "clip" else None
    return Sample(one.layout, found.prefix or "module.", found.tensors, stated)


def _of_library(name: str) -> Sample:
    with TemporaryDirectory() as folder:
        foreign = FOREIGN[name](Path(folder))
    found = find_weights(foreign.tensors)
    stated = {"huggingface-clip": CLIP, "huggingface-hiera": HIERA, "mmpretrain-clip": MM_CLIP}.get(foreign.layout)
    return Sample(foreign.layout, found.prefix or "module.", found.tensors, stated)


def _numbered_resnet() -> Sample:
    """Return what `nn.Sequential(*model.children())` saves: its first children are two layers, then come the stages."""
    made, numbers = (
        _written(BY_NAME["resnet"]),
        {"conv1": "0", "bn1": "1"} | {f"layer{n}": f"{n + 3}" for n in range(1, 5)},
    )
    parts = {name: name.split(".", 1) for name in made.tensors}
    tensors = {f"{numbers[first]}.{rest}": made.tensors[name] for name, (first, rest) in parts.items()}
    return Sample("numbered-resnet", "backbone.", tensors)


def _mmseg_resnet(kind: str) -> Sample:
    """Return a ResNet-C or -D as mmsegmentation numbers all layers of its stem, the activations too."""
    model = randomise(
        timm.create_model(f"resnet50{kind}", num_classes=0, layers=(1, 1, 1, 1), channels=(8, 16, 16, 32))
    )
    respelt = [("^conv1", "stem"), ("^bn1", "stem.7")]
    respelt += [(rf"(?<=^layer1\.0\.downsample\.){n}", f"{n - 1}") for n in (1, 2)] if kind == "d" else []
    tensors = {}
    for name, tensor in model.state_dict().items():
        for present, there in respelt:
            name = re.sub(present, there, name)
        tensors[name] = tensor
    return Sample(f"mmseg-resnet-{kind}", "backbone.", tensors)


def _sparse_convnext() -> Sample:
    model = randomise(timm.create_model("convnextv2_atto", num_classes=0, conv_mlp=False))
    return Sample("sparse-convnext", "encoder.", sparse(dict(model.state_dict())))


def _resnet_of_detectron2() -> Sample:
    found = find_weights(detectron2(_written(BY_NAME["resnet"]).tensors))
    means = {name: each + 0.1 for name, each in found.tensors.items() if name.endswith("running_mean")}
    return Sample("detectron2-resnet", found.prefix, found.tensors | means)


def _sam2_of_transformers() -> Sample:
    """Return the smallest that is published: no tensor shows the windows of others."""
    import transformers

    model = randomise(transformers.Sam2HieraDetModel(transformers.Sam2HieraDetConfig()))
    return Sample("huggingface-sam2", "backbone.", dict(model.state_dict()))


def _sam2_of_its_authors() -> Sample:
    model = randomise(timm.create_model("sam2_hiera_tiny", num_classes=0))
    return Sample("sam2", "image_encoder.trunk.", sam2(dict(model.state_dict())))


CLIP = Architecture(
    name="vit_base_patch16_clip_quickgelu_224",
    arguments={"img_size": 64, "embed_dim": 128, "depth": 2, "num_heads": 2, "mlp_ratio": 3.0},
)
MM_CLIP = CLIP.model_copy(update={"name": "vit_base_patch16_clip_224"})
HIERA = Architecture(
    name="hiera_tiny_224", arguments={"img_size": 64, "embed_dim": 32, "stages": [1, 2, 1, 1], "num_heads": 1}
)
LIBRARIES = (
    *("ResNet of transformers, small", "ConvNeXt of torchvision", "ConvNeXtV2 of mmpretrain"),
    *("ConvNeXtV2 of transformers", "DINOv3's ConvNeXt", "CLIP, both towers", "SigLIP", "DINOv3, gated", "AIMv2"),
    *("Hiera", "SAM", "distilled DeiT", "V-JEPA 2", "VideoMAE", "ResNet-C of mmpretrain", "CLIP of mmpretrain"),
    *("ResNet-D of mmpretrain", "SAM of mmpretrain"),
)
"""Of the libraries' files one for each layout."""
CONVERTED: dict[str, Callable[[], Sample]] = {
    **{f"official {name}": (lambda name=name: _official(name)) for name in OFFICIAL},  # type: ignore[misc]
    **{f"{name} of a library": (lambda name=name: _of_library(name)) for name in LIBRARIES},  # type: ignore[misc]
    "numbered-resnet": _numbered_resnet,
    **{f"mmseg-resnet-{kind}": (lambda kind=kind: _mmseg_resnet(kind)) for kind in "cd"},  # type: ignore[misc]
    "sparse-convnext": _sparse_convnext,
    "detectron2-resnet": _resnet_of_detectron2,
    "sam2": _sam2_of_its_authors,
    "huggingface-sam2": _sam2_of_transformers,
    **{layout: (lambda layout=layout: _of_timm(layout)) for layout in SMALL_TRANSFORMERS},  # type: ignore[misc]
}
SAMPLES: dict[str, Callable[[], Sample]] = {
    **{name: (lambda name=name: _listed(name)) for name in vit_files.LISTINGS},  # type: ignore[misc]
    "huggingface-dinov2": _dinov2_of_transformers,
    "SwinV2 of the first SimMIM": _respelt("microsoft-swinv2", ("cpb_mlp", "rpe_mlp")),
    "ViT of torchvision before 0.13": _respelt(
        "torchvision-vit", ("mlp.0.", "mlp.linear_1."), ("mlp.3.", "mlp.linear_2.")
    ),
    "ViT of transformers in memory": _respelt(
        "huggingface-vit",
        ("encoder.layer.", "layers."),
        ("attention.attention.query", "attention.q_proj"),
        ("attention.attention.key", "attention.k_proj"),
        ("attention.attention.value", "attention.v_proj"),
        ("attention.output.dense", "attention.o_proj"),
        ("intermediate.dense", "mlp.fc1"),
        ("output.dense", "mlp.fc2"),
    ),
}
SAMPLES |= {
    layout.name: (lambda layout=layout: _written(layout))  # type: ignore[misc]
    for layout in LAYOUTS
    if layout.from_timm is not None
}
TRAINED = tuple(name for name in SAMPLES if name not in ("resnet", "timm-convnext", "torchvision-convnet"))
"""Samples of the families for which damage is followed up to the command, which takes a second each."""
SAMPLES |= CONVERTED
