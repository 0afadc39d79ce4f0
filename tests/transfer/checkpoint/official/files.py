"""The published kinds of files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from tests.transfer.checkpoint.official.hierarchical import convnext, fcmae, hiera_mae
from tests.transfer.checkpoint.official.plain import (
    aimv2,
    dinov3,
    distilled_deit,
    eva02,
    openai_clip,
    perception_core,
    perception_spatial,
    sam,
    videomae,
    vjepa2,
)
from tests.transfer.checkpoint.official.sizes import BASE, SMALL, Names, Plain, Stages
from tests.transfer.checkpoint.vit_files import random_tensor
from transfer.checkpoint.layouts.layout import Weights


@dataclass(frozen=True)
class Official:
    """A published kind of file."""

    layout: str
    names: Callable[..., Names]
    true: Plain | Stages
    small: Plain | Stages
    published: str
    """timm's name for the encoder of true size, which needs no arguments."""
    prefix: str = ""
    wrapper: str = ""
    """What a training adds to every name."""

    def file(self, *, small: bool = True) -> Weights:
        """Return random tensors of the small size, or tensors without values of the true one."""
        named = {self.wrapper + name: shape for name, shape in self.names(self.small if small else self.true).items()}
        if not small:
            return {name: torch.empty(shape, device="meta") for name, shape in named.items()}
        return {name: random_tensor(name, shape) for name, shape in named.items()}


VISUAL, MODULE = "visual.", "module."


OFFICIAL: dict[str, Official] = {
    "OpenAI CLIP": Official(
        "clip", openai_clip, BASE._replace(patch=32, side=7), SMALL, "vit_base_patch32_clip_quickgelu_224", VISUAL
    ),
    "PE core": Official("perception-encoder", perception_core, BASE, SMALL, "vit_pe_core_base_patch16_224", VISUAL),
    "PE spatial": Official(
        "perception-encoder", perception_spatial, BASE._replace(side=32), SMALL, "vit_pe_spatial_base_patch16_512"
    ),
    "distilled DeiT": Official("distilled-deit", distilled_deit, BASE, SMALL, "deit_base_distilled_patch16_224"),
    "DINOv3": Official("dinov3", dinov3, BASE, SMALL, "vit_base_patch16_dinov3_qkvb"),
    "EVA-02": Official(
        "eva02",
        eva02,
        Plain(768, 12, 2048, 14, 32),
        SMALL._replace(patch=14),
        "eva02_base_patch14_448",
        wrapper=MODULE,
    ),
    "AIMv2": Official(
        "aimv2", aimv2, Plain(1024, 24, 2816, 14, 16), SMALL._replace(patch=14), "aimv2_large_patch14_224"
    ),
    "SAM": Official(
        "sam", sam, BASE._replace(side=64), SMALL._replace(side=16), "samvit_base_patch16", "image_encoder."
    ),
    "V-JEPA 2": Official(
        "vjepa2", vjepa2, Plain(1024, 24, 4096, 16, 16), SMALL, "vjepa2_vit_large", wrapper="module.backbone."
    ),
    "VideoMAE": Official("videomae", videomae, BASE, SMALL, "videomae_vit_base", "encoder."),
    "Hiera-MAE": Official("hiera", hiera_mae, Stages(96, (1, 2, 7, 2)), Stages(96, (1, 1, 1, 1)), "hiera_tiny_224"),
    "ConvNeXt": Official("convnext", convnext, Stages(96, (3, 3, 9, 3)), Stages(8, (1, 1, 2, 1)), "convnext_tiny"),
    "SparK's ConvNeXt": Official(
        *("convnext", convnext, Stages(96, (3, 3, 27, 3)), Stages(8, (1, 1, 2, 1)), "convnext_small"),
        wrapper="module.sparse_encoder.sp_cnn.",
    ),
    "FCMAE": Official("convnext", fcmae, Stages(128, (3, 3, 27, 3)), Stages(8, (1, 1, 2, 1)), "convnextv2_base"),
}
