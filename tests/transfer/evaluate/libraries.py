"""Small classifiers of other libraries, saved by them, with the library's own way from an image to logits."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import timm
import torch
import torchvision
from PIL import Image
from timm.data import create_transform, resolve_model_data_config
from torch import Tensor
from torchvision import transforms
from torchvision.models import ResNet18_Weights, Swin_T_Weights

from tests.support.libraries import library
from tests.support.random_weights import randomise
from tests.transfer.checkpoint import swin_zoo

VIT = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2}


class Saved(NamedTuple):
    """A random classifier of ten classes in its library's own format, and that library's logits [C] for an image."""

    model: Path
    logits: Callable[[Image.Image], Tensor]
    arguments: tuple[str, ...] = ()


def timm_folder(name: str, folder: Path, arguments: dict[str, Any], **config: Any) -> Saved:
    """Write what `push_to_hf_hub` uploads, and read it back by timm, with timm's own transform for tests."""
    model = randomise(timm.create_model(name, num_classes=10, **arguments))
    timm.models.save_for_hf(model, folder, model_config=config, model_args=arguments)
    theirs = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    assert theirs.num_classes == 10
    transform = create_transform(**resolve_model_data_config(theirs, use_test_size=True))
    return Saved(folder, lambda image: theirs(transform(image)[None])[0])


def timm_resnet(folder: Path) -> Saved:
    sizes = {"input_size": (3, 48, 48), "test_input_size": (3, 64, 64), "crop_pct": 0.9, "interpolation": "bilinear"}
    return timm_folder("resnet10t", folder, {}, **sizes)


def timm_vit(folder: Path) -> Saved:
    half = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
    squash = {"input_size": (3, 32, 32), "crop_pct": 0.8, "crop_mode": "squash", **half}
    return timm_folder("vit_tiny_patch16_224", folder, VIT, **squash)


def timm_swin(folder: Path) -> Saved:
    arguments = {"img_size": 64, "window_size": 4, "embed_dim": 24, "depths": (1, 1), "num_heads": (2, 4)}
    return timm_folder("swin_tiny_patch4_window7_224", folder, arguments, input_size=(3, 64, 64), crop_pct=1.0)


def torchvision_resnet(folder: Path) -> Saved:
    model = randomise(torchvision.models.resnet18(num_classes=10))
    torch.save(model.state_dict(), folder / "resnet18.pth")
    transform = ResNet18_Weights.IMAGENET1K_V1.transforms()
    stated = ("preprocessing.resize_px=256", "preprocessing.interpolation=bilinear", "image_size_px=224")
    arguments = ("--architecture", "resnet18", *stated)
    return Saved(folder / "resnet18.pth", lambda image: model(transform(image)[None])[0], arguments)


def torchvision_vit(folder: Path) -> Saved:
    sizes = {"num_layers": 2, "num_heads": 2, "hidden_dim": 32, "mlp_dim": 128}
    model = randomise(torchvision.models.VisionTransformer(image_size=32, patch_size=8, num_classes=10, **sizes))
    torch.save(model.state_dict(), folder / "vit.pth")
    (folder / "vit.yaml").write_text(json.dumps({"name": "vit_tiny_patch16_224", "arguments": VIT}))
    # Everything but the sizes is the same for all of torchvision's classifiers.
    transform = transforms.Compose(
        [
            transforms.Resize(36, transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(32),
            transforms.ToTensor(),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    arguments = ("--architecture", str(folder / "vit.yaml"))
    return Saved(folder / "vit.pth", lambda image: model(transform(image)[None])[0], arguments)


def huggingface_vit(folder: Path) -> Saved:
    transformers = library("transformers", "transformers")
    config = transformers.ViTConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        image_size=32,
        patch_size=8,
        num_labels=10,
    )
    model = randomise(transformers.ViTForImageClassification(config))
    model.save_pretrained(folder)
    processor = transformers.ViTImageProcessorPil(size={"height": 32, "width": 32}, resample=2)
    processor.save_pretrained(folder)
    return Saved(folder, lambda image: model(**processor(image, return_tensors="pt")).logits[0])


def torchvision_swin(folder: Path) -> Saved:
    sizes = {"embed_dim": 24, "depths": [2, 2], "num_heads": [2, 4], "window_size": [4, 4]}
    model = randomise(torchvision.models.SwinTransformer([4, 4], num_classes=10, **sizes))
    torch.save(model.state_dict(), folder / "swin.pth")
    transform = Swin_T_Weights.IMAGENET1K_V1.transforms(crop_size=64, resize_size=66)
    stated = ("preprocessing.resize_px=66", "image_size_px=64")
    return Saved(folder / "swin.pth", lambda image: model(transform(image)[None])[0], stated)


def huggingface_swin(folder: Path) -> Saved:
    """Its processor crops, as DeiT's does."""
    transformers = library("transformers", "transformers")
    sizes = {"embed_dim": 24, "depths": [1, 1], "num_heads": [2, 4], "window_size": 4, "image_size": 64}
    model = randomise(transformers.SwinForImageClassification(transformers.SwinConfig(num_labels=10, **sizes)))
    model.save_pretrained(folder)
    side = {"height": 64, "width": 64}
    processor = transformers.DeiTImageProcessorPil(size={"height": 73, "width": 73}, resample=3, crop_size=side)
    processor.save_pretrained(folder)
    return Saved(folder, lambda image: model(**processor(image, return_tensors="pt")).logits[0])


def simmim_swin(folder: Path) -> Saved:
    """A file as SimMIM's fine-tuning writes it, and the transform of its data_finetune.py."""
    model = randomise(swin_zoo.timm_model(swin_zoo.TINY, 1, num_classes=10))
    saved = {}
    masks = {name: tensor for name, tensor in model.named_buffers() if name.endswith("attn_mask")}  # SimMIM keeps them
    for name, tensor in {**model.state_dict(), **masks}.items():
        stage = name.split(".")[1]
        if "downsample" in name:  # there the merging of patches ends a stage
            name = name.replace(f"layers.{stage}.", f"layers.{int(stage) - 1}.")
        saved[name.replace("head.fc.", "head.")] = tensor
    config = {"PRETRAINED": "simmim.pth", "DATA": {"IMG_SIZE": 96}}
    torch.save({"model": saved, "epoch": 99, "config": config}, folder / "ckpt_epoch_99.pth")
    transform = transforms.Compose(
        [
            transforms.Resize(int((256 / 224) * 96), transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(96),
            transforms.ToTensor(),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    return Saved(folder / "ckpt_epoch_99.pth", lambda image: model(transform(image)[None])[0])


LIBRARIES = (
    *(timm_resnet, timm_vit, timm_swin),
    *(torchvision_resnet, torchvision_vit, torchvision_swin),
    *(huggingface_vit, huggingface_swin, simmim_swin),
)
