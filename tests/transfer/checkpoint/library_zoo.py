"""Small encoders of other libraries with random weights, saved as those libraries save them, with their features."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn

from tests.support.libraries import library
from tests.support.random_weights import randomise
from transfer.checkpoint.layouts.layout import Weights

Features = Callable[[Tensor], Tensor]
SIDE = 64
PLAIN: dict[str, Any] = {
    "hidden_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,  # not by convention: read from config.json
    "intermediate_size": 384,
    "image_size": SIDE,
    "patch_size": 16,
}
EPS: dict[str, Any] = {"layer_norm_eps": 1e-6}
STAGES: dict[str, Any] = {"hidden_sizes": [8, 16, 32, 64], "depths": [1, 1, 2, 1]}


@dataclass(frozen=True)
class Foreign:
    layout: str
    tensors: Weights
    """As the library saves them."""
    dense: Features
    """Tokens [B, N, D], or a map [B, D, H, W]."""
    pooled: Features | None = None
    config: dict[str, Any] = field(default_factory=dict)
    """What stands in config.json beside them."""

    def save(self, folder: Path) -> Path:
        save_file({name: t.contiguous().clone() for name, t in self.tensors.items()}, folder / "model.safetensors")
        if self.config:
            (folder / "config.json").write_text(json.dumps(self.config))
        return folder


def _moved(model: Any) -> Any:
    """Move buffers of batch norms as well."""
    randomise(model)
    for name, buffer in model.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            buffer.add_(torch.rand(buffer.shape) * 0.1)
    model.eval()
    return model  # mmpretrain's `eval` returns nothing


def _saved(model: Any, folder: Path) -> Weights:
    """Return what `save_pretrained` writes, whose names differ from those in memory."""
    from safetensors.torch import load_file

    model.save_pretrained(folder)
    return dict(load_file(folder / "model.safetensors"))


def _huggingface(name: str, folder: Path, **sizes: Any) -> tuple[Any, Weights, dict[str, Any]]:
    transformers = library("transformers", "transformers")
    kind = name.removesuffix("Model").removesuffix("ForPreTraining").removesuffix("ForMaskedImageModeling")
    kind = kind.removesuffix("ForImageClassificationWithTeacher").removesuffix("ForVideoClassification")
    model = _moved(getattr(transformers, name)(getattr(transformers, f"{kind}Config")(**sizes)))
    return model, _saved(model, folder), json.loads((folder / "config.json").read_text())


def of_tokens(
    layout: str, name: str, *, pooled: bool = True, inner: str = "", norm: str = "", **sizes: Any
) -> Callable[[Path], Foreign]:
    """Return a transformer of transformers: `inner` is its encoder, `norm` a norm that it leaves out."""

    def make(folder: Path) -> Foreign:
        model, tensors, config = _huggingface(name, folder, **sizes)
        part = getattr(model, inner) if inner else model
        after = model.get_submodule(norm) if norm else nn.Identity()
        last = lambda x: after(part(x).last_hidden_state)  # noqa: E731
        return Foreign(layout, tensors, last, (lambda x: part(x).pooler_output) if pooled else None, config)

    return make


def of_clips(layout: str, name: str, *, inner: str = "", pixels: str = "pixel_values", **sizes: Any) -> Any:
    """Return a transformer of clips of transformers; of an image it is given the frames of a tubelet."""

    def make(folder: Path) -> Foreign:
        model, tensors, config = _huggingface(name, folder, **sizes)
        part = model.get_submodule(inner)
        run = lambda clips: part(**{pixels: clips.transpose(1, 2)}).last_hidden_state  # noqa: E731
        dense = lambda x: run(x if x.ndim == 5 else x.unsqueeze(2).expand(-1, -1, 2, -1, -1))  # noqa: E731
        return Foreign(layout, tensors, dense, lambda x: dense(x).mean(dim=1), config)

    return make


def of_convolutions(layout: str, name: str, **sizes: Any) -> Callable[[Path], Foreign]:
    def make(folder: Path) -> Foreign:
        model, tensors, config = _huggingface(name, folder, **sizes)
        return Foreign(
            *(layout, tensors, lambda x: _map(model, x), lambda x: model(x).pooler_output.flatten(1)), config=config
        )

    return make


def _map(model: Any, images: Tensor) -> Tensor:
    """Return the last map; DINOv3's ConvNeXt returns tokens that are normed already, whose stages are run instead."""
    if hasattr(model, "stages") or hasattr(getattr(model, "model", None), "stages"):
        for stage in getattr(model, "stages", None) or model.model.stages:
            images = stage(images)
        return images
    found: Tensor = model(images).last_hidden_state
    return found


def siglip2(folder: Path) -> Foreign:
    """Return SigLIP2, which takes images as rows of patches."""
    sizes = {key: value for key, value in PLAIN.items() if key != "image_size"}
    model, tensors, config = _huggingface("Siglip2VisionModel", folder, **sizes, num_patches=16)

    def run(images: Tensor) -> Any:
        patches = images.unfold(2, 16, 16).unfold(3, 16, 16).permute(0, 2, 3, 4, 5, 1).reshape(len(images), 16, -1)
        return model(patches, torch.ones(len(images), 16), torch.tensor([[4, 4]] * len(images)))

    return Foreign(
        *("huggingface-siglip", tensors, lambda x: run(x).last_hidden_state, lambda x: run(x).pooler_output),
        config=config,
    )


def torchvision_resnet(block: str, layers: list[int], wrapper: str = "", **own: Any) -> Callable[[Path], Foreign]:
    def make(_: Path) -> Foreign:
        kind: Any = getattr(torchvision.models.resnet, block)
        model = _moved(torchvision.models.ResNet(kind, layers, **own))
        body = nn.Sequential(*list(model.children())[:-2])
        tensors = {wrapper + name: t for name, t in model.state_dict().items() if not (wrapper and name[:3] == "fc.")}
        return Foreign("resnet", tensors, body, lambda x: body(x).mean((2, 3)))

    return make


def numbered_resnet(_: Path) -> Foreign:
    model = _moved(torchvision.models.ResNet(torchvision.models.resnet.Bottleneck, [1, 2, 1, 1]))
    body = nn.Sequential(*list(model.children())[:-2])
    tensors = {f"backbone.{name}": tensor for name, tensor in body.state_dict().items()}
    return Foreign("numbered-resnet", tensors, body, lambda x: body(x).mean((2, 3)))


def torchvision_convnext(_: Path) -> Foreign:
    from torchvision.models.convnext import CNBlockConfig, ConvNeXt

    widths = (8, 16, 32, 64, None)
    settings = [
        CNBlockConfig(wide, after, depth)
        for wide, after, depth in zip(widths[:-1], widths[1:], (1, 1, 2, 1), strict=True)
    ]
    model = _moved(ConvNeXt(settings))
    tensors = dict(model.state_dict())
    model.classifier[2] = nn.Identity()
    return Foreign("torchvision-convnext", tensors, model.features, model)


def mmpretrain_convnext(second: bool) -> Callable[[Path], Foreign]:
    def make(_: Path) -> Foreign:
        library("mmpretrain.utils.dependency", "onedl-mmpretrain").WITH_MULTIMODAL = False
        from mmpretrain.models.backbones import ConvNeXt

        arch = {"depths": STAGES["depths"], "channels": STAGES["hidden_sizes"]}
        own = {"use_grn": True, "layer_scale_init_value": 0.0} if second else {}
        model = _moved(ConvNeXt(arch=arch, **own))
        tensors = {f"backbone.{name}": tensor for name, tensor in model.state_dict().items()}

        def dense(images: Tensor) -> Tensor:
            for down, stage in zip(model.downsample_layers, model.stages, strict=True):
                images = stage(down(images))
            return images

        return Foreign("mmpretrain-convnext", tensors, dense, lambda x: model(x)[-1])

    return make


def of_mmpretrain(
    layout: str, name: str, *, config: Mapping[str, Any] | None = None, **arguments: Any
) -> Callable[[Path], Foreign]:
    """Return one of mmpretrain's backbones whose last map is its dense output."""

    def make(_: Path) -> Foreign:
        library("mmpretrain.utils.dependency", "onedl-mmpretrain").WITH_MULTIMODAL = False
        from mmpretrain.models import backbones

        model = _moved(getattr(backbones, name)(**arguments))
        tensors = {f"backbone.{key}": tensor for key, tensor in model.state_dict().items()}
        return Foreign(layout, tensors, lambda x: model(x)[-1], config=dict(config or {}))

    return make


def open_clip_tower(quick: bool) -> Callable[[Path], Foreign]:
    """Return CLIP as open_clip saves it; config.json is one that Hugging Face's model of it would have."""

    def make(_: Path) -> Foreign:
        open_clip = library("open_clip", "open_clip_torch")
        text = {"context_length": 8, "vocab_size": 64, "width": 32, "heads": 2, "layers": 1}
        vision = {"image_size": SIDE, "layers": 2, "width": 128, "patch_size": 16, "head_width": 64, "mlp_ratio": 3.0}
        model = _moved(open_clip.CLIP(embed_dim=128, vision_cfg=vision, text_cfg=text, quick_gelu=quick))
        tensors = {f"module.{name}": tensor for name, tensor in model.state_dict().items()}
        hidden = "quick_gelu" if quick else "gelu"
        model.visual.proj = None
        tower = model.visual
        tower.output_tokens = True
        return Foreign(
            "clip",
            tensors,
            lambda x: tower(x)[1],
            lambda x: tower(x)[0],
            {"model_type": "clip_vision_model", "hidden_act": hidden},
        )

    return make


PRETRAINED_BEIT = {"use_mask_token": True, "use_shared_relative_position_bias": True}
DINOV3 = {**PLAIN, "num_register_tokens": 4}
HIERA: dict[str, Any] = {
    "embed_dim": 32,
    "depths": [1, 2, 1, 1],
    "num_heads": [1, 2, 4, 8],
    "image_size": [SIDE, SIDE],
    **EPS,
}
VJEPA2: dict[str, Any] = {
    "hidden_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "mlp_ratio": 3.0,
    "crop_size": SIDE,
    "pred_hidden_size": 32,
    "pred_num_attention_heads": 2,
    "pred_num_hidden_layers": 1,
}
VIDEOMAE: dict[str, Any] = {
    **PLAIN,
    "num_frames": 2,
    "use_mean_pooling": False,
    "decoder_hidden_size": 32,
    "decoder_num_attention_heads": 2,
    "decoder_num_hidden_layers": 1,
}
MM = {
    "arch": {"embed_dims": 128, "num_layers": 2, "num_heads": 2, "feedforward_channels": 384},
    "img_size": SIDE,
}
FOREIGN: dict[str, Callable[[Path], Foreign]] = {
    "ResNet, bottlenecks": torchvision_resnet("Bottleneck", [1, 2, 1, 1]),
    "ResNet, basic blocks": torchvision_resnet("BasicBlock", [1, 2, 1, 1]),
    "ResNeXt": torchvision_resnet("Bottleneck", [1, 1, 1, 1], groups=32, width_per_group=4),
    "wide ResNet": torchvision_resnet("Bottleneck", [1, 1, 1, 1], width_per_group=128),
    "ResNet in nn.Sequential": numbered_resnet,
    "ResNet of transformers, small": of_convolutions(
        "huggingface-resnet", "ResNetModel", depths=[1, 1, 1, 1], hidden_sizes=[32, 64, 128, 256]
    ),
    "ResNet of transformers, basic": of_convolutions(
        *("huggingface-resnet", "ResNetModel"),
        depths=[2, 1, 1, 1],
        layer_type="basic",
        hidden_sizes=[64, 128, 256, 512],
    ),
    "ConvNeXt of torchvision": torchvision_convnext,
    "ConvNeXt of mmpretrain": mmpretrain_convnext(False),
    "ConvNeXtV2 of mmpretrain": mmpretrain_convnext(True),
    "ResNet-C of mmpretrain": of_mmpretrain("mmpretrain-resnet-c", "ResNetV1c", depth=18),
    "ResNet-D of mmpretrain": of_mmpretrain("mmpretrain-resnet-d", "ResNetV1d", depth=50),
    "CLIP of mmpretrain": of_mmpretrain(
        *("mmpretrain-clip", "VisionTransformer"),
        config={"model_type": "clip_vision_model", "hidden_act": "gelu", "num_attention_heads": 2, **EPS},
        **MM,
        pre_norm=True,
        out_type="raw",
    ),
    "SAM of mmpretrain": of_mmpretrain(
        *("mmpretrain-sam", "ViTSAM"),
        **{**MM, "arch": {**MM["arch"], "global_attn_indexes": [1]}},
        window_size=2,
        out_channels=16,
    ),
    "ConvNeXt of transformers": of_convolutions("huggingface-convnext", "ConvNextModel", **STAGES, **EPS),
    "ConvNeXtV2 of transformers": of_convolutions("huggingface-convnext", "ConvNextV2Model", **STAGES, **EPS),
    "DINOv3's ConvNeXt": of_convolutions("huggingface-dinov3-convnext", "DINOv3ConvNextModel", **STAGES, **EPS),
    "CLIP, QuickGELU": of_tokens("huggingface-clip", "CLIPVisionModel", norm="post_layernorm", **PLAIN),
    "CLIP, GELU": of_tokens("huggingface-clip", "CLIPVisionModel", norm="post_layernorm", **PLAIN, hidden_act="gelu"),
    "CLIP, both towers": of_tokens(
        *("huggingface-clip", "CLIPModel"),
        inner="vision_model",
        norm="vision_model.post_layernorm",
        vision_config=PLAIN,
        text_config={"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32},
    ),
    "open_clip, GELU": open_clip_tower(False),
    "open_clip, QuickGELU": open_clip_tower(True),
    "SigLIP": of_tokens("huggingface-siglip", "SiglipVisionModel", **PLAIN),
    "SigLIP2": siglip2,
    "DINOv3": of_tokens("huggingface-dinov3", "DINOv3ViTModel", pooled=False, **DINOV3),
    "DINOv3, gated": of_tokens(
        "huggingface-dinov3", "DINOv3ViTModel", pooled=False, **DINOV3, use_gated_mlp=True, hidden_act="silu"
    ),
    "DINOv3 without registers": of_tokens("huggingface-dinov3", "DINOv3ViTModel", pooled=False, **PLAIN),
    "AIMv2": of_tokens("huggingface-aimv2", "Aimv2VisionModel", pooled=False, **PLAIN, use_head=False),
    "Hiera": of_tokens("huggingface-hiera", "HieraModel", **HIERA),
    "SAM": of_tokens(
        "huggingface-sam",
        "SamVisionModel",
        pooled=False,
        **{**PLAIN, "mlp_dim": 384, "window_size": 2, "global_attn_indexes": [1], "output_channels": 16},
    ),
    "SAM 2": of_tokens(
        *("huggingface-sam2", "Sam2HieraDetModel"),
        pooled=False,
        hidden_size=16,
        num_attention_heads=1,
        blocks_per_stage=[1, 1, 2, 1],
        embed_dim_per_stage=[16, 32, 64, 128],
        num_attention_heads_per_stage=[1, 2, 4, 8],
        window_size_per_stage=[4, 2, 4, 2],
        global_attention_blocks=[3],
        window_positional_embedding_background_size=[3, 3],
    ),
    "distilled DeiT": of_tokens(
        "huggingface-distilled-deit",
        "DeiTForImageClassificationWithTeacher",
        pooled=False,
        inner="deit",
        **PLAIN,
        **EPS,
    ),
    "BEiT, masked modelling": of_tokens(
        *("huggingface-beit", "BeitForMaskedImageModeling"),
        pooled=False,
        inner="beit",
        norm="layernorm",
        **PLAIN,
        **EPS,
        **PRETRAINED_BEIT,
    ),
    "data2vec": of_tokens(
        "huggingface-beit", "Data2VecVisionModel", pooled=False, **PLAIN, **EPS, use_relative_position_bias=True
    ),
    "V-JEPA 2": of_clips(
        *("huggingface-vjepa2", "VJEPA2Model"), inner="encoder", pixels="pixel_values_videos", **VJEPA2
    ),
    "VideoMAE": of_clips("huggingface-videomae", "VideoMAEModel", **VIDEOMAE),
    "VideoMAE, masked modelling": of_clips(
        "huggingface-videomae", "VideoMAEForPreTraining", inner="videomae", **VIDEOMAE
    ),
    "I-JEPA": of_tokens("huggingface-vit", "IJepaModel", pooled=False, **PLAIN, **EPS),
}
WRAPPERS = (
    *("module.encoder_q.", "net.", "backbone.", "sp_cnn.", "module.", "module.backbone.", "online_encoder.net."),
    *("encoder.", "_feature_blocks.", "sparse_encoder.sp_cnn."),
)
