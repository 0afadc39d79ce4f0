"""Names and shapes of the files that authors publish, written down from their code, at true sizes and at small ones.

No weights are downloaded. What the names mean is witnessed by timm's own converters (`checkpoint_filter_fn`), which
were written for the true files, and read nothing of ours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch

from tests.transfer.checkpoint.vit_files import random_tensor
from transfer.checkpoint.layouts.layout import Weights

Names = dict[str, tuple[int, ...]]


class Plain(NamedTuple):
    """Sizes of a plain transformer."""

    width: int
    depth: int
    hidden: int
    patch: int
    side: int
    """Patches along a side."""


BASE, SMALL = Plain(768, 12, 3072, 16, 14), Plain(128, 2, 384, 16, 4)


def _with_bias(name: str, *shape: int) -> Names:
    return {f"{name}.weight": shape, f"{name}.bias": (shape[0],)}


def clip(size: Plain) -> Names:
    """openai/CLIP `clip/model.py`: VisionTransformer, ResidualAttentionBlock; some of the text tower beside it."""
    d = size.width
    names: Names = {
        "visual.class_embedding": (d,),
        "visual.positional_embedding": (size.side**2 + 1, d),
        "visual.proj": (d, 512),
        "visual.conv1.weight": (d, 3, size.patch, size.patch),
        **_with_bias("visual.ln_pre", d),
        **_with_bias("visual.ln_post", d),
        "positional_embedding": (77, 512),
        "text_projection": (512, 512),
        "logit_scale": (),
        "token_embedding.weight": (49408, 64),
        "transformer.resblocks.0.ln_1.weight": (512,),
    }
    for i in range(size.depth):
        names |= _openai_block(f"visual.transformer.resblocks.{i}.", size)
    return names


def openai_clip(size: Plain) -> Names:
    """Return `torch.jit.load(FILE).state_dict()` of OpenAI's archives, with three numbers beside the towers."""
    return clip(size) | {"input_resolution": (), "context_length": (), "vocab_size": ()}


def _openai_block(block: str, size: Plain) -> Names:
    d = size.width
    return {
        f"{block}attn.in_proj_weight": (3 * d, d),
        f"{block}attn.in_proj_bias": (3 * d,),
        **_with_bias(f"{block}attn.out_proj", d, d),
        **_with_bias(f"{block}ln_1", d),
        **_with_bias(f"{block}mlp.c_fc", size.hidden, d),
        **_with_bias(f"{block}mlp.c_proj", d, size.hidden),
        **_with_bias(f"{block}ln_2", d),
    }


def perception_core(size: Plain) -> Names:
    """facebookresearch/perception_models `core/vision_encoder/pe.py`: attention pooling by a probe."""
    d, pool = size.width, "visual.attn_pool."
    names = {name: shape for name, shape in clip(size).items() if name.startswith("visual.")}
    return names | {
        f"{pool}probe": (1, 1, d),
        f"{pool}attn.in_proj_weight": (3 * d, d),
        f"{pool}attn.in_proj_bias": (3 * d,),
        **_with_bias(f"{pool}attn.out_proj", d, d),
        **_with_bias(f"{pool}layernorm", d),
        **_with_bias(f"{pool}mlp.c_fc", 4 * d, d),
        **_with_bias(f"{pool}mlp.c_proj", d, 4 * d),
    }


def perception_spatial(size: Plain) -> Names:
    """The same without pooling, projection and last norm."""
    names = {name.removeprefix("visual."): shape for name, shape in clip(size).items() if name.startswith("visual.")}
    return {name: shape for name, shape in names.items() if not name.startswith(("ln_post", "proj"))}


def _block(i: int, size: Plain) -> Names:
    d, block = size.width, f"blocks.{i}."
    return {
        **_with_bias(f"{block}norm1", d),
        **_with_bias(f"{block}attn.proj", d, d),
        **_with_bias(f"{block}norm2", d),
    }


def _embedding(size: Plain, tokens: int = 1) -> Names:
    table = {"pos_embed": (1, size.side**2 + tokens, size.width)}
    patches = _with_bias("patch_embed.proj", size.width, 3, size.patch, size.patch)
    return {"cls_token": (1, 1, size.width), **table, **patches}


def distilled_deit(size: Plain) -> Names:
    """facebookresearch/deit `models.py`: DistilledVisionTransformer."""
    d = size.width
    names = {"dist_token": (1, 1, d), **_embedding(size, 2), **_with_bias("norm", d)}
    for i in range(size.depth):
        names |= _block(i, size) | _with_bias(f"blocks.{i}.attn.qkv", 3 * d, d)
        names |= _with_bias(f"blocks.{i}.mlp.fc1", size.hidden, d) | _with_bias(f"blocks.{i}.mlp.fc2", d, size.hidden)
    return names | _with_bias("head", 1000, d) | _with_bias("head_dist", 1000, d)


def dinov3(size: Plain) -> Names:
    """facebookresearch/dinov3 `models/vision_transformer.py`, `layers/`: biases of keys are masked, not absent."""
    d = size.width
    names = {**_embedding(size), "storage_tokens": (1, 4, d), "mask_token": (1, d), "rope_embed.periods": (16,)}
    del names["pos_embed"]
    for i in range(size.depth):
        block = f"blocks.{i}."
        names |= _block(i, size) | _with_bias(f"{block}attn.qkv", 3 * d, d)
        names |= {f"{block}attn.qkv.bias_mask": (3 * d,), f"{block}ls1.gamma": (d,), f"{block}ls2.gamma": (d,)}
        names |= _with_bias(f"{block}mlp.fc1", size.hidden, d) | _with_bias(f"{block}mlp.fc2", d, size.hidden)
    return names | _with_bias("norm", d)


def eva02(size: Plain) -> Names:
    """baaivision/EVA `EVA-02/asuka/modeling_finetune.py`, of a fine-tuned base model."""
    d = size.width
    names = {**_embedding(size), "rope.freqs_cos": (size.side**2, 64), "rope.freqs_sin": (size.side**2, 64)}
    for i in range(size.depth):
        block = f"blocks.{i}."
        names |= _block(i, size)
        names |= {f"{block}attn.{part}_proj.weight": (d, d) for part in "qkv"}
        names |= {f"{block}attn.q_bias": (d,), f"{block}attn.v_bias": (d,), f"{block}attn.rope.freqs_cos": (4, 64)}
        names |= _with_bias(f"{block}mlp.w1", size.hidden, d) | _with_bias(f"{block}mlp.w2", size.hidden, d)
        names |= _with_bias(f"{block}mlp.ffn_ln", size.hidden) | _with_bias(f"{block}mlp.w3", d, size.hidden)
    return names | _with_bias("fc_norm", d) | _with_bias("head", 1000, d)


def aimv2(size: Plain) -> Names:
    """apple/ml-aim `aim-v2/src/aim/v2/torch/`: preprocessor and trunk, without biases and with RMS norms."""
    d = size.width
    names: Names = {
        **_with_bias("preprocessor.patchifier.proj", d, 3, size.patch, size.patch),
        "preprocessor.patchifier.norm.weight": (d,),
        "preprocessor.pos_embed": (1, size.side**2, d),
        "trunk.post_trunk_norm.weight": (d,),
    }
    for i in range(size.depth):
        block = f"trunk.blocks.{i}."
        names |= {f"{block}norm_1.weight": (d,), f"{block}norm_2.weight": (d,)}
        names |= {f"{block}attn.qkv.weight": (3 * d, d), f"{block}attn.proj.weight": (d, d)}
        names |= {f"{block}mlp.{part}.weight": (size.hidden, d) for part in ("fc1", "fc3")}
        names[f"{block}mlp.fc2.weight"] = (d, size.hidden)
    return names


def sam(size: Plain) -> Names:
    """facebookresearch/segment-anything `modeling/image_encoder.py`; four blocks see the whole image."""
    d, e = size.width, "image_encoder."
    names: Names = {
        f"{e}pos_embed": (1, size.side, size.side, d),
        **_with_bias(f"{e}patch_embed.proj", d, 3, size.patch, size.patch),
        f"{e}neck.0.weight": (256, d, 1, 1),
        **_with_bias(f"{e}neck.1", 256),
        f"{e}neck.2.weight": (256, 256, 3, 3),
        **_with_bias(f"{e}neck.3", 256),
        "mask_decoder.iou_token.weight": (1, 256),
        "prompt_encoder.no_mask_embed.weight": (1, 256),
    }
    every = max(size.depth // 4, 2)
    for i in range(size.depth):
        block, rows = f"{e}blocks.{i}.", 2 * (14 if (i + 1) % every else size.side) - 1
        names |= {f"{e}{name}": shape for name, shape in _block(i, size).items()}
        names |= {f"{block}attn.rel_pos_h": (rows, 64), f"{block}attn.rel_pos_w": (rows, 64)}
        names |= _with_bias(f"{block}attn.qkv", 3 * d, d)
        names |= _with_bias(f"{block}mlp.lin1", size.hidden, d) | _with_bias(f"{block}mlp.lin2", d, size.hidden)
    return names


class Stages(NamedTuple):
    """Sizes of a model of four stages, each twice as wide as the one before."""

    width: int
    depths: tuple[int, ...]


def hiera_mae(size: Stages) -> Names:
    """facebookresearch/hiera `hiera/hiera.py`, `hiera_mae.py`: 224 px; a stage's first block projects its residual."""
    names: Names = {"pos_embed": (1, 56**2, size.width), **_with_bias("patch_embed.proj", size.width, 3, 7, 7)}
    wide, number = size.width, 0
    for stage, depth in enumerate(size.depths):
        for i in range(depth):
            block, before = f"blocks.{number}.", wide // 2 if stage and not i else wide
            names |= _with_bias(f"{block}norm1", before) | _with_bias(f"{block}attn.qkv", 3 * wide, before)
            names |= _with_bias(f"{block}attn.proj", wide, wide) | _with_bias(f"{block}norm2", wide)
            names |= _with_bias(f"{block}mlp.fc1", 4 * wide, wide) | _with_bias(f"{block}mlp.fc2", wide, 4 * wide)
            names |= _with_bias(f"{block}proj", wide, before) if before != wide else {}
            number += 1
        wide *= 2
    names |= _with_bias("encoder_norm", wide // 2) | _with_bias("decoder_embed", 512, wide // 2)
    return names | {"mask_token": (1, 1, 512), **_with_bias("multi_scale_fusion_heads.0", wide // 2, size.width, 8, 8)}


def convnext(size: Stages) -> Names:
    """facebookresearch/ConvNeXt `models/convnext.py`."""
    names = _convnext_stages(size)
    for stage, depth in enumerate(size.depths):
        names |= {f"stages.{stage}.{i}.gamma": (size.width * 2**stage,) for i in range(depth)}
    wide = size.width * 2 ** (len(size.depths) - 1)
    return names | _with_bias("norm", wide) | _with_bias("head", 1000, wide)


def fcmae(size: Stages) -> Names:
    """facebookresearch/ConvNeXt-V2, pretrained by FCMAE: global response norms, no last norm, no head."""
    names = _convnext_stages(size)
    for stage, depth in enumerate(size.depths):
        for i in range(depth):
            wide = (1, 1, 1, 4 * size.width * 2**stage)
            names |= {f"stages.{stage}.{i}.grn.gamma": wide, f"stages.{stage}.{i}.grn.beta": wide}
    return names


def _convnext_stages(size: Stages) -> Names:
    names = {
        **_with_bias("downsample_layers.0.0", size.width, 3, 4, 4),
        **_with_bias("downsample_layers.0.1", size.width),
    }
    for stage, depth in enumerate(size.depths):
        wide = size.width * 2**stage
        if stage:
            names |= _with_bias(f"downsample_layers.{stage}.0", wide // 2)
            names |= _with_bias(f"downsample_layers.{stage}.1", wide, wide // 2, 2, 2)
        for i in range(depth):
            block = f"stages.{stage}.{i}."
            names |= _with_bias(f"{block}dwconv", wide, 1, 7, 7) | _with_bias(f"{block}norm", wide)
            names |= _with_bias(f"{block}pwconv1", 4 * wide, wide) | _with_bias(f"{block}pwconv2", wide, 4 * wide)
    return names


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


_VISUAL, _MODULE = "visual.", "module."
OFFICIAL: dict[str, Official] = {
    "OpenAI CLIP": Official(
        "clip", openai_clip, BASE._replace(patch=32, side=7), SMALL, "vit_base_patch32_clip_quickgelu_224", _VISUAL
    ),
    "PE core": Official("perception-encoder", perception_core, BASE, SMALL, "vit_pe_core_base_patch16_224", _VISUAL),
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
        wrapper=_MODULE,
    ),
    "AIMv2": Official(
        "aimv2", aimv2, Plain(1024, 24, 2816, 14, 16), SMALL._replace(patch=14), "aimv2_large_patch14_224"
    ),
    "SAM": Official(
        "sam", sam, BASE._replace(side=64), SMALL._replace(side=16), "samvit_base_patch16", "image_encoder."
    ),
    "Hiera-MAE": Official("hiera", hiera_mae, Stages(96, (1, 2, 7, 2)), Stages(96, (1, 1, 1, 1)), "hiera_tiny_224"),
    "ConvNeXt": Official("convnext", convnext, Stages(96, (3, 3, 9, 3)), Stages(8, (1, 1, 2, 1)), "convnext_tiny"),
    "SparK's ConvNeXt": Official(
        *("convnext", convnext, Stages(96, (3, 3, 27, 3)), Stages(8, (1, 1, 2, 1)), "convnext_small"),
        wrapper="module.sparse_encoder.sp_cnn.",
    ),
    "FCMAE": Official("convnext", fcmae, Stages(128, (3, 3, 27, 3)), Stages(8, (1, 1, 2, 1)), "convnextv2_base"),
}
