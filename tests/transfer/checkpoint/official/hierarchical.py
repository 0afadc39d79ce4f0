"""Encoders of four stages, as their authors name the tensors."""

from __future__ import annotations

from tests.transfer.checkpoint.official.sizes import Names, Stages, with_bias


def hiera_mae(size: Stages) -> Names:
    """facebookresearch/hiera `hiera/hiera.py`, `hiera_mae.py`: 224 px; a stage's first block projects its residual."""
    names: Names = {"pos_embed": (1, 56**2, size.width), **with_bias("patch_embed.proj", size.width, 3, 7, 7)}
    wide, number = size.width, 0
    for stage, depth in enumerate(size.depths):
        for i in range(depth):
            block, before = f"blocks.{number}.", wide // 2 if stage and not i else wide
            names |= with_bias(f"{block}norm1", before) | with_bias(f"{block}attn.qkv", 3 * wide, before)
            names |= with_bias(f"{block}attn.proj", wide, wide) | with_bias(f"{block}norm2", wide)
            names |= with_bias(f"{block}mlp.fc1", 4 * wide, wide) | with_bias(f"{block}mlp.fc2", wide, 4 * wide)
            names |= with_bias(f"{block}proj", wide, before) if before != wide else {}
            number += 1
        wide *= 2
    names |= with_bias("encoder_norm", wide // 2) | with_bias("decoder_embed", 512, wide // 2)
    return names | {"mask_token": (1, 1, 512), **with_bias("multi_scale_fusion_heads.0", wide // 2, size.width, 8, 8)}


def convnext(size: Stages) -> Names:
    """facebookresearch/ConvNeXt `models/convnext.py`."""
    names = _convnext_stages(size)
    for stage, depth in enumerate(size.depths):
        names |= {f"stages.{stage}.{i}.gamma": (size.width * 2**stage,) for i in range(depth)}
    wide = size.width * 2 ** (len(size.depths) - 1)
    return names | with_bias("norm", wide) | with_bias("head", 1000, wide)


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
        **with_bias("downsample_layers.0.0", size.width, 3, 4, 4),
        **with_bias("downsample_layers.0.1", size.width),
    }
    for stage, depth in enumerate(size.depths):
        wide = size.width * 2**stage
        if stage:
            names |= with_bias(f"downsample_layers.{stage}.0", wide // 2)
            names |= with_bias(f"downsample_layers.{stage}.1", wide, wide // 2, 2, 2)
        for i in range(depth):
            block = f"stages.{stage}.{i}."
            names |= with_bias(f"{block}dwconv", wide, 1, 7, 7) | with_bias(f"{block}norm", wide)
            names |= with_bias(f"{block}pwconv1", 4 * wide, wide) | with_bias(f"{block}pwconv2", wide, 4 * wide)
    return names
