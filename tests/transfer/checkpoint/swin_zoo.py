"""Small random Swins of the libraries whose files we read, and the listings of true names and shapes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import safetensors.torch
import timm
from torch import Tensor, nn

from tests.support.libraries import library
from tests.support.random_weights import randomise
from transfer.checkpoint.layouts.hierarchical.swin import SWIN_LAYOUTS
from transfer.checkpoint.layouts.hierarchical.swinv2 import SWINV2_LAYOUTS
from transfer.checkpoint.layouts.layout import Layout, Shapes, Weights

LAYOUTS = {layout.name: layout for layout in (*SWIN_LAYOUTS, *SWINV2_LAYOUTS)}
FIXTURES = Path(__file__).parent / "fixtures"
# Which layout each listing is in; the names of the listings say whose files they are.
LISTINGS = {
    "detectron2-swin-tiny": "detectron2-swin",
    "huggingface-swin-tiny": "huggingface-swin",
    "huggingface-swinv2-tiny": "huggingface-swinv2",
    "microsoft-simmim-swin-base": "microsoft-swin",
    "microsoft-simmim-swinv2": "microsoft-swinv2",
    "microsoft-swin-tiny": "microsoft-swin",
    "microsoft-swinv2-tiny": "microsoft-swinv2",
    "mmpretrain-swinv2-tiny": "mmpretrain-swinv2",
    "mmseg-swin-tiny": "mmseg-swin",
    "mmselfsup-simmim-swin-base": "mmseg-swin",
    "timm-0.6-swin-tiny": "microsoft-swin",
    "timm-0.6-swinv2-tiny": "microsoft-swinv2",
    "timm-swin-tiny": "timm-swin",
    "timm-swinv2-tiny": "timm-swinv2",
    "torchvision-swin-tiny": "torchvision-swin",
    "torchvision-swinv2-tiny": "torchvision-swinv2",
}
NOT_ENCODER = ("mask_token", "relative_position_index", "relative_coords_table", "attn_mask")


@dataclass(frozen=True)
class Size:
    """A small architecture in the proportions of Swin-T or Swin-B; maps are multiples of the window."""

    embed_dim: int
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    window: int
    image_size_px: int


TINY = Size(24, (2, 2, 2), (3, 6, 12), 3, 96)
BASE = Size(32, (2, 2, 4, 2), (4, 8, 16, 32), 2, 64)
# The last feature map (4 x 4) is smaller than the window: classifiers clip the window to it.
CLIPPED = Size(24, (2, 2, 2), (3, 6, 12), 8, 64)


@dataclass(frozen=True)
class Foreign:
    """A model of another library: what it saves, and its normed features of the last stage [B, H, W, C]."""

    layout: str
    model: nn.Module
    saved: Weights
    features: Callable[[Tensor], Tensor]


def of_timm(size: Size, version: int) -> Foreign:
    model = randomise(timm_model(size, version))
    return Foreign(f"timm-swin{_v(version)}", model, model.state_dict(), model.forward_features)


def timm_model(size: Size, version: int, **more: object) -> nn.Module:
    name = "swinv2_tiny_window8_256" if version == 2 else "swin_tiny_patch4_window7_224"
    widths = {"embed_dim": size.embed_dim, "depths": size.depths, "num_heads": size.heads}
    arguments = {"img_size": size.image_size_px, "window_size": size.window, "num_classes": 0, **widths, **more}
    return timm.create_model(name, **arguments)


def of_torchvision(size: Size, version: int) -> Foreign:
    from torchvision.models import swin_transformer as tv

    block = tv.SwinTransformerBlockV2 if version == 2 else tv.SwinTransformerBlock
    merging = tv.PatchMergingV2 if version == 2 else tv.PatchMerging
    widths = {"embed_dim": size.embed_dim, "depths": list(size.depths), "num_heads": list(size.heads)}
    model = tv.SwinTransformer([4, 4], window_size=[size.window] * 2, block=block, downsample_layer=merging, **widths)
    randomise(model)
    return Foreign(f"torchvision-swin{_v(version)}", model, model.state_dict(), lambda x: model.norm(model.features(x)))


def of_huggingface(size: Size, version: int, folder: Path) -> Foreign:
    """Saved by `save_pretrained`, as on the Hub."""
    import transformers

    config_class = transformers.Swinv2Config if version == 2 else transformers.SwinConfig
    model_class = transformers.Swinv2Model if version == 2 else transformers.SwinModel
    config = config_class(
        image_size=size.image_size_px,
        embed_dim=size.embed_dim,
        depths=list(size.depths),
        num_heads=list(size.heads),
        window_size=size.window,
    )
    model = randomise(model_class(config))
    model.save_pretrained(folder)
    saved = safetensors.torch.load_file(folder / "model.safetensors")
    return Foreign(f"huggingface-swin{_v(version)}", model, saved, lambda x: _to_map(model(x).last_hidden_state))


def of_mmseg(size: Size, version: int = 1) -> Foreign:
    assert version == 1
    backbones = library("mmseg.models.backbones.swin", "onedl-mmsegmentation")
    model = backbones.SwinTransformer(
        embed_dims=size.embed_dim,
        depths=size.depths,
        num_heads=size.heads,
        strides=(4, *(2,) * (len(size.depths) - 1)),
        out_indices=tuple(range(len(size.depths))),
        window_size=size.window,
    )
    randomise(model)
    return Foreign("mmseg-swin", model, model.state_dict(), lambda x: model(x)[-1].permute(0, 2, 3, 1))


def of_mmpretrain(size: Size, version: int) -> Foreign:
    """SwinV2, or for version 1 the encoder that mmselfsup and mmpretrain pretrain by SimMIM."""
    # Its language models, which it adds where pycocotools is installed, know no transformers of version 5.
    library("mmpretrain.utils.dependency", "onedl-mmpretrain").WITH_MULTIMODAL = False
    from mmpretrain.models.backbones import SwinTransformerV2
    from mmpretrain.models.selfsup.simmim import SimMIMSwinTransformer

    arch: dict[str, object] = {"embed_dims": size.embed_dim, "depths": size.depths, "num_heads": size.heads}
    common = {"img_size": size.image_size_px, "out_indices": (len(size.depths) - 1,)}
    if version == 2:
        arch["extra_norm_every_n_blocks"] = 0
        windows = [min(size.window, size.image_size_px // (4 * 2**i)) for i in range(len(size.depths))]
        model = SwinTransformerV2(arch=arch, window_size=windows, **common)
    else:
        stages = {"block_cfgs": {"window_size": size.window}}
        model = SimMIMSwinTransformer(arch=arch, stage_cfgs=stages, **common)
    randomise(model)
    run = model if version == 2 else partial(model, mask=None)
    name = "mmpretrain-swinv2" if version == 2 else "mmseg-swin"
    return Foreign(name, model, model.state_dict(), lambda x: run(x)[-1].permute(0, 2, 3, 1))


def listing(name: str) -> Shapes:
    """Return the names and shapes that a true checkpoint has."""
    data = json.loads((FIXTURES / f"{name}.json").read_text(encoding="utf-8"))
    return {key: tuple(shape) for key, shape in data["tensors"].items()}


def recognise(weights: Weights | Shapes) -> Layout:
    """Return the one layout that recognises the tensors."""
    shapes = {name: tuple(getattr(value, "shape", value)) for name, value in weights.items()}
    found = [layout for layout in LAYOUTS.values() if layout.recognises(shapes)]
    assert len(found) == 1, [layout.name for layout in found]
    return found[0]


def encoder_only(weights: Weights) -> Weights:
    """Leave out head, mask token and buffers, as an export does."""
    return {
        name: tensor
        for name, tensor in weights.items()
        if not name.startswith("head.") and name.rsplit(".", 1)[-1] not in NOT_ENCODER
    }


def _to_map(tokens: Tensor) -> Tensor:
    side = round(tokens.shape[1] ** 0.5)
    return tokens.reshape(len(tokens), side, side, -1)


def _v(version: int) -> str:
    return "v2" if version == 2 else ""
