"""EVA-02, DINOv3's ViTs and other transformers with rotary positions that timm builds from its class Eva.

Buffers of rotary positions follow from sizes and are left out. Sources: baaivision/EVA `EVA-02/asuka`,
facebookresearch/dinov3 `models/vision_transformer.py`, transformers `models/dinov3_vit`, mmpretrain `vit_eva02.py`.
"""

from __future__ import annotations

import re

from transfer.checkpoint.layouts.layout import Layout, Shapes, Weights
from transfer.checkpoint.layouts.pairs import Names, anywhere
from transfer.checkpoint.layouts.plain.video import is_huggingface_vjepa2

_BLOCK = "blocks.{}."
_ROTARY = re.compile(
    r"(.*\.)?(rope(_embed(dings)?)?\..*|freqs_(cos|sin)|bias_mask)|local_cls_norm\..*|(?:.*\.)?inv_freq"
)
_SWIGLU = (
    (_BLOCK + "mlp.w12", _BLOCK + "mlp.fc1"),
    (_BLOCK + "mlp.w1", _BLOCK + "mlp.fc1_g"),
    (_BLOCK + "mlp.w2", _BLOCK + "mlp.fc1_x"),
    (_BLOCK + "mlp.w3", _BLOCK + "mlp.fc2"),
    (_BLOCK + "mlp.ffn_ln", _BLOCK + "mlp.norm"),
)
EVA02 = Names(
    (*_SWIGLU, (_BLOCK + "attn.inner_attn_ln", _BLOCK + "attn.norm")), beside=("head.", "mask_token", "lm_head.")
)
_SEPARATE = (
    (_BLOCK + "attn.q_bias", _BLOCK + "attn.q_proj.bias"),
    (_BLOCK + "attn.v_bias", _BLOCK + "attn.v_proj.bias"),
)
EVA02_SEPARATE = Names((*EVA02.pairs, *_SEPARATE), beside=EVA02.beside)
"""Where query, key and value have matrices of their own, timm keeps the biases with them."""
DINOV3 = Names(
    (
        ("storage_tokens", "reg_token"),
        (_BLOCK + "ls1.gamma", _BLOCK + "gamma_1"),
        (_BLOCK + "ls2.gamma", _BLOCK + "gamma_2"),
        *_SWIGLU,
    ),
    beside=("head.", "mask_token", "projectors."),
)
HF_DINOV3 = Names(
    (
        ("embeddings.cls_token", "cls_token"),
        ("embeddings.register_tokens", "reg_token"),
        ("embeddings.patch_embeddings", "patch_embed.proj"),
        *(
            pair
            for root in ("layer.{}.", "model.layer.{}.")
            for pair in (
                (root + "norm1", _BLOCK + "norm1"),
                (root + "attention.q_proj.bias", _BLOCK + "attn.q_bias"),
                (root + "attention.v_proj.bias", _BLOCK + "attn.v_bias"),
                (root + "attention.o_proj", _BLOCK + "attn.proj"),
                (root + "layer_scale1.lambda1", _BLOCK + "gamma_1"),
                (root + "norm2", _BLOCK + "norm2"),
                (root + "mlp.gate_proj", _BLOCK + "mlp.fc1_g"),
                (root + "layer_scale2.lambda1", _BLOCK + "gamma_2"),
                (root + "mlp.down_proj", _BLOCK + "mlp.fc2"),
            )
        ),
    ),
    joins=tuple(
        (tuple(f"{root}attention.{part}_proj.weight" for part in "qkv"), _BLOCK + "attn.qkv.weight")
        for root in ("layer.{}.", "model.layer.{}.")
    ),
    beside=("embeddings.mask_token", "classifier."),
)


def _without_rotary(weights: Weights) -> Weights:
    return {name: tensor for name, tensor in weights.items() if not _ROTARY.fullmatch(name)}


def _eva02_to_timm(weights: Weights) -> Weights:
    names = EVA02_SEPARATE if anywhere(weights, r"blocks\.\d+\.attn\.[qkv]_proj\.weight") else EVA02
    return names.to_timm(_without_rotary(weights))


def _bias_apart(weights: Weights) -> Weights:
    """Cut the bias of query, key and value in three, of which DINOv3 masks the second: no key has a bias."""
    cut: Weights = {}
    for name, tensor in weights.items():
        if name.endswith("attn.qkv.bias") and tensor.ndim and len(tensor) % 3 == 0:
            query, _, value = tensor.chunk(3)
            stem = name.removesuffix("qkv.bias")
            cut |= {stem + "q_bias": query.clone(), stem + "v_bias": value.clone()}
        else:
            cut[name] = tensor
    return cut


def _hf_dinov3_to_timm(weights: Weights) -> Weights:
    """Read the MLP by its parts: without a gate, `up_proj` is its first matrix."""
    gated = anywhere(weights, r".*\.mlp\.gate_proj\.\w+")
    first = "fc1_x" if gated else "fc1"
    named = {
        re.sub(r"^(?:model\.)?layer\.(\d+)\.mlp\.up_proj", rf"blocks.\1.mlp.{first}", n): t for n, t in weights.items()
    }
    return HF_DINOV3.to_timm(_without_rotary(named))


def _hf_dinov3_names_back(weights: Weights) -> Weights:
    up = re.compile(r"blocks\.(\d+)\.mlp\.fc1(?:_x)?\.(weight|bias)")
    return {up.sub(r"layer.\1.mlp.up_proj.\2", name): tensor for name, tensor in HF_DINOV3.names_back(weights).items()}


def is_dinov3(shapes: Shapes) -> bool:
    """Return whether tensors are DINOv3's by its own names: registers called storage, or a mask of biases."""
    own = anywhere(shapes, r"storage_tokens|rope_embed\..+|blocks\.\d+\.attn\.qkv\.bias_mask")
    return own and anywhere(shapes, r"blocks\.\d+\.norm[12]\..+")


def _is_hf_dinov3(shapes: Shapes) -> bool:
    blocks = anywhere(shapes, r"(model\.)?layer\.\d+\.(attention|norm[12]|mlp|layer_scale[12])\..+")
    return blocks and not is_huggingface_vjepa2(shapes)


def is_eva02(shapes: Shapes) -> bool:
    """Return whether tensors are EVA-02's by its own names: SwiGLU of w1, w2 and w3, inner norms, rotary buffers."""
    own = r"blocks\.\d+\.(mlp\.(w1|w2|w3|ffn_ln)\..+|attn\.(inner_attn_ln\..+|rope\..+))|rope\.freqs_(cos|sin)"
    attention = anywhere(shapes, r"blocks\.\d+\.attn\.(q_bias|v_bias|[qkv]_proj\.weight)")
    return anywhere(shapes, own) and attention and not is_dinov3(shapes)


def is_timm_eva(shapes: Shapes) -> bool:
    """Return whether tensors are those of timm's Eva: what neither its ViT nor its BEiT has, or lacks."""
    blocks = anywhere(shapes, r"blocks\.\d+\.norm[12]\..+")
    separate = anywhere(shapes, r"blocks\.\d+\.attn\.[qkv]_proj\..+")
    scaled = anywhere(shapes, r"blocks\.\d+\.gamma_[12]")
    rotary = scaled and anywhere(shapes, r"reg_token") and not anywhere(shapes, r"pos_embed|fc_norm\..+")
    perception = anywhere(shapes, r"norm_pre\..+") and (
        anywhere(shapes, r"attn_pool\..+") or not anywhere(shapes, r"norm\..+")
    )
    plain = not anywhere(shapes, r".*relative_position_(bias_table|index)") and "pos_embed" in shapes
    patch = shapes.get("patch_embed.proj.weight", (0, 0, 0, 0))[-1]  # EVA's are of 14 pixels, BEiT's never
    biased = anywhere(shapes, r"blocks\.\d+\.attn\.[qv]_bias") and plain and patch == 14
    return blocks and (separate or rotary or perception or biased) and not (is_eva02(shapes) or is_dinov3(shapes))


def is_other_eva(shapes: Shapes) -> bool:
    """Return whether tensors with BEiT's biases of query and value are EVA's or DINOv3's."""
    return is_timm_eva(shapes) or is_eva02(shapes) or is_dinov3(shapes)


EVA_LAYOUTS: tuple[Layout, ...] = (
    Layout(
        "timm-eva",
        "eva",
        "EVA, EVA-02, DINOv3's ViT and PE of timm",
        is_timm_eva,
        lambda weights: Names((), beside=("head.",)).to_timm(_without_rotary(weights)),
    ),
    Layout(
        "eva02",
        "eva",
        "EVA-02 (baaivision/EVA), pretrained by MIM or fine-tuned; of EVA-CLIP the image tower",
        is_eva02,
        _eva02_to_timm,
        names_back=EVA02_SEPARATE.names_back,
    ),
    Layout(
        "dinov3",
        "eva",
        "DINOv3's ViT (facebookresearch/dinov3)",
        is_dinov3,
        lambda weights: _bias_apart(DINOV3.to_timm(_without_rotary(weights))),
        names_back=DINOV3.names_back,
    ),
    Layout(
        "huggingface-dinov3",
        "eva",
        "DINOv3's ViT of Hugging Face transformers",
        _is_hf_dinov3,
        _hf_dinov3_to_timm,
        names_back=_hf_dinov3_names_back,
    ),
)
