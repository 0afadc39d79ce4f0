"""Encoders as a person would write them in a module of their own, for `--encoder python:MODULE:NAME`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.families.own import OwnEncoder
from tests.support.random_weights import randomise

HALF = (0.5, 0.5, 0.5)


class TinyCnn(nn.Module):
    """A ConvNet with one block for each of the strides 4, 8, 16 and 32."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 4, stride=4)
        self.stages = nn.ModuleList(_stage(8 * 2 ** max(at - 1, 0), 8 * 2**at, at) for at in range(4))

    def forward(self, images: Tensor) -> list[Tensor]:
        maps, found = [], self.stem(images)
        for stage in self.stages:
            found = stage(found)
            maps.append(found)
        return maps


def _stage(before: int, after: int, at: int) -> nn.Module:
    convolution = nn.Conv2d(before, after, 3, stride=2 if at else 1, padding=1)
    return nn.Sequential(convolution, nn.BatchNorm2d(after), nn.GELU())


def tiny_cnn() -> OwnEncoder:
    """A ConvNet of one's own, with layers and blocks."""
    model = randomise(TinyCnn())

    def layer_of(name: str) -> int:
        return int(name.split(".")[1]) + 1 if name.startswith("stages.") else 0

    return OwnEncoder(model, (4, 8, 16, 32), HALF, HALF, layer_of=layer_of, blocks=list(model.stages))


def swin_of_transformers() -> OwnEncoder:
    """A hierarchical backbone of Hugging Face; AutoBackbone.from_pretrained(...) in the place of random weights."""
    import transformers

    names = [f"stage{number}" for number in (1, 2, 3, 4)]
    sizes = {"embed_dim": 8, "depths": [1, 1, 1, 1], "num_heads": [1, 2, 2, 2], "window_size": 2, "image_size": 32}
    model = randomise(transformers.SwinBackbone(transformers.SwinConfig(**sizes, out_features=names)))
    return OwnEncoder(model, (4, 8, 16, 32), HALF, HALF, lambda swin, images: swin(images).feature_maps)


def vit_of_transformers() -> OwnEncoder:
    """A plain transformer of Hugging Face, whose tokens begin with a class token."""
    import transformers

    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    config = transformers.ViTConfig(**sizes, image_size=32, patch_size=16)
    model = randomise(transformers.ViTModel(config, add_pooling_layer=False))

    def tokens(vit: Any, images: Tensor) -> Tensor:
        found: Tensor = vit(images, interpolate_pos_encoding=True).last_hidden_state
        return found

    return OwnEncoder(model, (16,), HALF, HALF, tokens, prefix_tokens=1)


def untrained() -> OwnEncoder:
    """Random weights, which someone forgot to load."""
    return OwnEncoder(TinyCnn(), (4, 8, 16, 32), HALF, HALF)


def pooled() -> OwnEncoder:
    """Gives one vector of an image, as most models do when they are called."""
    return OwnEncoder(TinyCnn(), (16,), HALF, HALF, lambda cnn, images: cnn(images)[-1].mean(dim=(2, 3)))


def of_a_library() -> OwnEncoder:
    """Gives what a model of transformers returns, not the tokens in it."""
    encoder = vit_of_transformers()
    return OwnEncoder(encoder.model, (16,), HALF, HALF, prefix_tokens=1)


def without_normalisation() -> OwnEncoder:
    return OwnEncoder(TinyCnn(), (4, 8, 16, 32), (), ())


def a_model_alone() -> nn.Module:
    return TinyCnn()


def broken() -> OwnEncoder:
    raise FileNotFoundError("weights.pth")


def leaves() -> OwnEncoder:
    raise SystemExit(3)


def _like_the_cnn(features: Callable[[Any, Tensor], Any], **fields: Any) -> OwnEncoder:
    return OwnEncoder(randomise(TinyCnn()), (32,), HALF, HALF, features, **fields)


def of_no_numbers() -> OwnEncoder:
    return _like_the_cnn(lambda cnn, images: cnn(images)[-1] * torch.nan)


def of_another_draw_each_time() -> OwnEncoder:
    return _like_the_cnn(lambda cnn, images: cnn(images)[-1] + torch.randn(1))


def of_half_precision() -> OwnEncoder:
    return _like_the_cnn(lambda cnn, images: cnn(images)[-1].bfloat16())


def of_no_gradient() -> OwnEncoder:
    """Features as people take them of a frozen model."""
    return _like_the_cnn(lambda cnn, images: cnn(images)[-1].detach(), layer_of=lambda _: 0)


def of_odd_layers() -> OwnEncoder:
    return _like_the_cnn(lambda cnn, images: cnn(images)[-1], layer_of=lambda name: name)


def of_others_blocks() -> OwnEncoder:
    return _like_the_cnn(lambda cnn, images: cnn(images)[-1], blocks=[nn.Linear(2, 2)])


def on_the_scale_of_bytes() -> OwnEncoder:
    return OwnEncoder(TinyCnn(), (4, 8, 16, 32), (123.7, 116.3, 103.5), (58.4, 57.1, 57.4))


def of_one_size() -> OwnEncoder:
    """Takes images of 64 pixels alone, as a ViT without interpolation."""

    def features(cnn: Any, images: Tensor) -> Tensor:
        if images.shape[-1] != 64:
            raise ValueError(f"images of {images.shape[-1]} px")
        found: Tensor = cnn(images)[-1]
        return found

    return _like_the_cnn(features)


def that_fails_in_training() -> OwnEncoder:
    def features(cnn: Any, images: Tensor) -> Tensor:
        found: Tensor = cnn(images)[4 if cnn.training else 3]
        return found

    return _like_the_cnn(features)


def grey() -> OwnEncoder:
    model = nn.Sequential(nn.Conv2d(1, 8, 16, stride=16), nn.BatchNorm2d(8))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return OwnEncoder(model, (16,), (0.5,), (0.5,))


def vjepa2_of_transformers() -> OwnEncoder:
    """A transformer of videos: it sees each image as a clip of equal frames, whose tokens are averaged over time."""
    import transformers

    sizes = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2, "pred_hidden_size": 16}
    sizes |= {"patch_size": 16, "crop_size": 32, "frames_per_clip": 4, "pred_num_hidden_layers": 1}
    config = transformers.VJEPA2Config(**sizes, pred_num_attention_heads=2)
    model = randomise(transformers.VJEPA2Model(config))

    def tokens(vjepa: Any, images: Tensor) -> Tensor:
        clips = images[:, None].expand(-1, 4, -1, -1, -1)
        found: Tensor = vjepa(clips, skip_predictor=True).last_hidden_state.unflatten(1, (2, -1)).mean(dim=1)
        return found

    return OwnEncoder(model, (16,), HALF, HALF, tokens, blocks=list(model.encoder.layer))
