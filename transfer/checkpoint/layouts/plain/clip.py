"""Image towers of language-image training: CLIP and SigLIP of OpenAI, open_clip, Meta, Google and Hugging Face; AIMv2.

Sources: openai/CLIP `clip/model.py`, mlfoundations/open_clip `transformer.py`, facebookresearch/perception_models
`core/vision_encoder/pe.py`, apple/ml-aim `aim-v2`, transformers `models/clip`, `models/siglip*`, `models/aimv2`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from transfer.checkpoint.layouts.layout import Layout, Shapes, Weights
from transfer.checkpoint.layouts.pairs import Names, Pairs, anywhere

if TYPE_CHECKING:
    from torch import Tensor

_BLOCK = "blocks.{}."


def _batched(tensor: Tensor) -> Tensor:
    """Return [D] and [N, D] as [1, 1, D] and [1, N, D]."""
    return tensor.reshape((1,) * (3 - tensor.ndim) + tuple(tensor.shape)) if 0 < tensor.ndim < 3 else tensor


def _as_kernel(tensor: Tensor) -> Tensor:
    """Return the matrix [D, p * p * 3] of patches laid out as rows, columns, colours as a convolution [D, 3, p, p]."""
    side = math.isqrt(tensor.shape[-1] // 3) if tensor.ndim == 2 else 0
    if not side or 3 * side**2 != tensor.shape[-1]:
        return tensor
    return tensor.reshape(-1, side, side, 3).permute(0, 3, 1, 2)


_TOKENS = (("cls_token", _batched), ("pos_embed", _batched), ("patch_embed.proj.weight", _as_kernel))
_RESIDUAL = "transformer.resblocks.{}."
_POOLED: Pairs = tuple(
    (f"{theirs}in_proj_{part}", f"attn_pool.{ours}.{part}")
    for theirs in ("head.attention.", "attn_pool.attn.")
    for part in ("weight", "bias")
    for ours in ("q", "kv")
)
"""Query, key and value of a pooling are one matrix, which `_pooling_apart` cuts: timm has the query apart."""
OPENAI = Names(
    (
        ("class_embedding", "cls_token"),
        ("positional_embedding", "pos_embed"),
        ("conv1", "patch_embed.proj"),
        ("ln_pre", "norm_pre"),
        (_RESIDUAL + "ln_1", _BLOCK + "norm1"),
        (_RESIDUAL + "attn.in_proj_weight", _BLOCK + "attn.qkv.weight"),
        (_RESIDUAL + "attn.in_proj_bias", _BLOCK + "attn.qkv.bias"),
        (_RESIDUAL + "attn.out_proj", _BLOCK + "attn.proj"),
        (_RESIDUAL + "ls_1.gamma", _BLOCK + "gamma_1"),
        (_RESIDUAL + "ln_2", _BLOCK + "norm2"),
        (_RESIDUAL + "mlp.c_fc", _BLOCK + "mlp.fc1"),
        (_RESIDUAL + "mlp.c_proj", _BLOCK + "mlp.fc2"),
        (_RESIDUAL + "ls_2.gamma", _BLOCK + "gamma_2"),
        ("ln_post", "norm"),
        ("attn_pool.probe", "attn_pool.latent"),
        *_POOLED,
        ("attn_pool.attn.out_proj", "attn_pool.proj"),
        ("attn_pool.layernorm", "attn_pool.norm"),
        ("attn_pool.mlp.c_fc", "attn_pool.mlp.fc1"),
        ("attn_pool.mlp.c_proj", "attn_pool.mlp.fc2"),
    ),
    beside=("proj",),
    reshaped=_TOKENS,
)
_LAYER = "encoder.layers.{}."
_HF_BLOCKS: Pairs = (
    (_LAYER + "layer_norm1", _BLOCK + "norm1"),
    (_LAYER + "self_attn.out_proj", _BLOCK + "attn.proj"),
    (_LAYER + "layer_norm2", _BLOCK + "norm2"),
    (_LAYER + "mlp.fc1", _BLOCK + "mlp.fc1"),
    (_LAYER + "mlp.fc2", _BLOCK + "mlp.fc2"),
)
_HF_QKV = (tuple(f"{_LAYER}self_attn.{part}_proj" for part in "qkv"), _BLOCK + "attn.qkv")
_HF_EMBEDDINGS: Pairs = (
    ("embeddings.patch_embedding", "patch_embed.proj"),
    ("embeddings.position_embedding.weight", "pos_embed"),
)
HF_CLIP = Names(
    (
        ("embeddings.class_embedding", "cls_token"),
        *_HF_EMBEDDINGS,
        ("pre_layrnorm", "norm_pre"),  # transformers' own spelling, but of OWL-ViT
        ("pre_layernorm", "norm_pre"),
        *_HF_BLOCKS,
        ("post_layernorm", "norm"),
    ),
    joins=(_HF_QKV,),
    beside=("embeddings.position_ids",),
    reshaped=_TOKENS,
)
HF_SIGLIP = Names(
    (
        *_HF_EMBEDDINGS,
        *_HF_BLOCKS,
        ("post_layernorm", "norm"),
        ("head.probe", "attn_pool.latent"),
        *_POOLED,
        ("head.attention.out_proj", "attn_pool.proj"),
        ("head.layernorm", "attn_pool.norm"),
        ("head.mlp.fc1", "attn_pool.mlp.fc1"),
        ("head.mlp.fc2", "attn_pool.mlp.fc2"),
    ),
    joins=(_HF_QKV,),
    beside=("embeddings.position_ids",),
    reshaped=_TOKENS,
)
_AIM_BLOCKS: Pairs = (
    ("trunk.blocks.{}.norm_1", _BLOCK + "norm1"),
    ("trunk.blocks.{}.attn.qkv", _BLOCK + "attn.qkv"),
    ("trunk.blocks.{}.attn.proj", _BLOCK + "attn.proj"),
    ("trunk.blocks.{}.norm_2", _BLOCK + "norm2"),
    ("trunk.blocks.{}.mlp.fc1", _BLOCK + "mlp.fc1_g"),
    ("trunk.blocks.{}.mlp.fc3", _BLOCK + "mlp.fc1_x"),
    ("trunk.blocks.{}.mlp.fc2", _BLOCK + "mlp.fc2"),
)
AIMV2 = Names(
    (
        ("preprocessor.patchifier.proj", "patch_embed.proj"),
        ("preprocessor.patchifier.norm", "patch_embed.norm"),
        ("preprocessor.pos_embed", "pos_embed"),
        *_AIM_BLOCKS,
        ("trunk.post_trunk_norm", "norm"),
    ),
    beside=("head.",),
)
HF_AIMV2 = Names(
    (
        ("embeddings.patch_embed", "patch_embed.proj"),
        ("embeddings.rms_norm", "patch_embed.norm"),
        ("embeddings.position_embedding.weight", "pos_embed"),
        (_LAYER + "rms_norm1", _BLOCK + "norm1"),
        (_LAYER + "attention.out_proj", _BLOCK + "attn.proj"),
        (_LAYER + "rms_norm2", _BLOCK + "norm2"),
        (_LAYER + "ffn.gate_proj", _BLOCK + "mlp.fc1_g"),
        (_LAYER + "ffn.up_proj", _BLOCK + "mlp.fc1_x"),
        (_LAYER + "ffn.down_proj", _BLOCK + "mlp.fc2"),
        ("rms_norm", "norm"),
    ),
    joins=((tuple(f"{_LAYER}attention.{part}_proj" for part in "qkv"), _BLOCK + "attn.qkv"),),
    beside=("head.",),
    reshaped=_TOKENS,
)


def _pooling_apart(weights: Weights) -> Weights:
    """Cut the pooling's matrix of query, key and value, which was read under the name of the query."""
    apart = dict(weights)
    for part in ("weight", "bias"):
        whole = weights.get(f"attn_pool.q.{part}")
        if whole is not None and whole.ndim and len(whole) % 3 == 0 and f"attn_pool.kv.{part}" not in weights:
            apart[f"attn_pool.q.{part}"] = whole[: len(whole) // 3].clone()
            apart[f"attn_pool.kv.{part}"] = whole[len(whole) // 3 :].clone()
    return apart


def is_openai(shapes: Shapes) -> bool:
    """Return whether tensors are a tower's as OpenAI names them; a tower of text has no patches."""
    blocks = anywhere(shapes, r"transformer\.resblocks\.\d+\.(attn|mlp|ln_[12])\..+")
    return blocks and not _is_text(shapes) and not is_coca(shapes)


def is_coca(shapes: Shapes) -> bool:
    """Return whether a tower of open_clip's ends in an attention pool with queries of its own, as CoCa's does."""
    return anywhere(shapes, r"attn_pool\.(query|ln_[qk]\..+)|attn_pool_contrastive\..+")


def _is_text(shapes: Shapes) -> bool:
    return "token_embedding.weight" in shapes


def is_perception(shapes: Shapes) -> bool:
    """Return whether a tower is Meta's Perception Encoder, which pools by a probe, or has no norm at its end."""
    probed = anywhere(shapes, r"attn_pool\.(probe|attn\..+|layernorm\..+)")
    return is_openai(shapes) and (probed or not anywhere(shapes, r"ln_post\..+"))


def _is_clip(shapes: Shapes) -> bool:
    return is_openai(shapes) and not is_perception(shapes)


def _has_hf_blocks(shapes: Shapes) -> bool:
    return anywhere(shapes, r"encoder\.layers\.\d+\.(self_attn|layer_norm[12])\..+")


def _is_hf_siglip(shapes: Shapes) -> bool:
    pooled = anywhere(shapes, r"head\.(probe|attention\..+|mlp\..+|layernorm\..+)")
    return _has_hf_blocks(shapes) and (pooled or anywhere(shapes, r"embeddings\.patch_embedding\.bias"))


def _is_hf_clip(shapes: Shapes) -> bool:
    own = anywhere(shapes, r"embeddings\.class_embedding|pre_laye?rnorm\..+")
    return _has_hf_blocks(shapes) and own and not _is_hf_siglip(shapes)


def _is_timm_clip(shapes: Shapes) -> bool:
    before = anywhere(shapes, r"norm_pre\..+") and anywhere(shapes, r"blocks\.\d+\.norm[12]\..+")
    return before and anywhere(shapes, r"norm\..+") and not anywhere(shapes, r"attn_pool\..+")


def _is_timm_siglip(shapes: Shapes) -> bool:
    pooled = anywhere(shapes, r"attn_pool\..+") and anywhere(shapes, r"blocks\.\d+\.norm[12]\..+")
    return pooled and not anywhere(shapes, r"norm_pre\..+|cls_token")


def _is_aimv2(shapes: Shapes) -> bool:
    return anywhere(shapes, r"trunk\.blocks\.\d+\.(norm_[12]|mlp|attn)\..+")


def _is_hf_aimv2(shapes: Shapes) -> bool:
    return anywhere(shapes, r"encoder\.layers\.\d+\.(ffn|rms_norm[12])\..+")


def _is_timm_aimv2(shapes: Shapes) -> bool:
    gated = anywhere(shapes, r"blocks\.\d+\.mlp\.fc1_[gx]\..+")
    return gated and anywhere(shapes, r"patch_embed\.norm\.weight|norm\.weight") and not _has_biases(shapes)


def _has_biases(shapes: Shapes) -> bool:
    return anywhere(shapes, r"blocks\.\d+\..+\.bias|blocks\.\d+\.attn\.[qkv]_(proj|bias).*")


_TIMM = Names((), beside=("head.",))

TOWER_LAYOUTS: tuple[Layout, ...] = (
    Layout("timm-clip", "clip", "CLIP's image tower of timm", _is_timm_clip, _TIMM.to_timm),
    OPENAI.layout("clip", "clip", "CLIP of OpenAI (a state dict), open_clip, MetaCLIP; the image tower", _is_clip),
    HF_CLIP.layout("huggingface-clip", "clip", "CLIP of Hugging Face transformers; the image tower", _is_hf_clip),
    Layout("timm-siglip", "siglip", "SigLIP's image tower of timm", _is_timm_siglip, _TIMM.to_timm),
    Layout(
        "huggingface-siglip",
        "siglip",
        "SigLIP and SigLIP2 of Hugging Face transformers; the image tower",
        _is_hf_siglip,
        lambda weights: _pooling_apart(HF_SIGLIP.to_timm(weights)),
        names_back=HF_SIGLIP.names_back,
    ),
    Layout(
        "perception-encoder",
        "eva",
        "PE core, lang and spatial (facebookresearch/perception_models)",
        is_perception,
        lambda weights: _pooling_apart(OPENAI.to_timm(weights)),
        names_back=OPENAI.names_back,
    ),
    Layout("timm-aimv2", "aimv2", "AIMv2 of timm", _is_timm_aimv2, _TIMM.to_timm),
    AIMV2.layout("aimv2", "aimv2", "AIMv2 (apple/ml-aim)", _is_aimv2),
    HF_AIMV2.layout("huggingface-aimv2", "aimv2", "AIMv2 of Hugging Face transformers; the image tower", _is_hf_aimv2),
)
