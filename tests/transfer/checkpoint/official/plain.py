"""Plain transformers, as their authors name the tensors."""

from __future__ import annotations

from tests.transfer.checkpoint.official.sizes import Names, Plain, with_bias


def clip(size: Plain) -> Names:
    """openai/CLIP `clip/model.py`: VisionTransformer, ResidualAttentionBlock; some of the text tower beside it."""
    d = size.width
    names: Names = {
        "visual.class_embedding": (d,),
        "visual.positional_embedding": (size.side**2 + 1, d),
        "visual.proj": (d, 512),
        "visual.conv1.weight": (d, 3, size.patch, size.patch),
        **with_bias("visual.ln_pre", d),
        **with_bias("visual.ln_post", d),
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
        **with_bias(f"{block}attn.out_proj", d, d),
        **with_bias(f"{block}ln_1", d),
        **with_bias(f"{block}mlp.c_fc", size.hidden, d),
        **with_bias(f"{block}mlp.c_proj", d, size.hidden),
        **with_bias(f"{block}ln_2", d),
    }


def perception_core(size: Plain) -> Names:
    """facebookresearch/perception_models `core/vision_encoder/pe.py`: attention pooling by a probe."""
    d, pool = size.width, "visual.attn_pool."
    names = {name: shape for name, shape in clip(size).items() if name.startswith("visual.")}
    return names | {
        f"{pool}probe": (1, 1, d),
        f"{pool}attn.in_proj_weight": (3 * d, d),
        f"{pool}attn.in_proj_bias": (3 * d,),
        **with_bias(f"{pool}attn.out_proj", d, d),
        **with_bias(f"{pool}layernorm", d),
        **with_bias(f"{pool}mlp.c_fc", 4 * d, d),
        **with_bias(f"{pool}mlp.c_proj", d, 4 * d),
    }


def perception_spatial(size: Plain) -> Names:
    """The same without pooling, projection and last norm."""
    names = {name.removeprefix("visual."): shape for name, shape in clip(size).items() if name.startswith("visual.")}
    return {name: shape for name, shape in names.items() if not name.startswith(("ln_post", "proj"))}


def _block(i: int, size: Plain) -> Names:
    d, block = size.width, f"blocks.{i}."
    return {
        **with_bias(f"{block}norm1", d),
        **with_bias(f"{block}attn.proj", d, d),
        **with_bias(f"{block}norm2", d),
    }


def _embedding(size: Plain, tokens: int = 1) -> Names:
    table = {"pos_embed": (1, size.side**2 + tokens, size.width)}
    patches = with_bias("patch_embed.proj", size.width, 3, size.patch, size.patch)
    return {"cls_token": (1, 1, size.width), **table, **patches}


def distilled_deit(size: Plain) -> Names:
    """facebookresearch/deit `models.py`: DistilledVisionTransformer."""
    d = size.width
    names = {"dist_token": (1, 1, d), **_embedding(size, 2), **with_bias("norm", d)}
    for i in range(size.depth):
        names |= _block(i, size) | with_bias(f"blocks.{i}.attn.qkv", 3 * d, d)
        names |= with_bias(f"blocks.{i}.mlp.fc1", size.hidden, d) | with_bias(f"blocks.{i}.mlp.fc2", d, size.hidden)
    return names | with_bias("head", 1000, d) | with_bias("head_dist", 1000, d)


def dinov3(size: Plain) -> Names:
    """facebookresearch/dinov3 `models/vision_transformer.py`, `layers/`: biases of keys are masked, not absent."""
    d = size.width
    names = {**_embedding(size), "storage_tokens": (1, 4, d), "mask_token": (1, d), "rope_embed.periods": (16,)}
    del names["pos_embed"]
    for i in range(size.depth):
        block = f"blocks.{i}."
        names |= _block(i, size) | with_bias(f"{block}attn.qkv", 3 * d, d)
        names |= {f"{block}attn.qkv.bias_mask": (3 * d,), f"{block}ls1.gamma": (d,), f"{block}ls2.gamma": (d,)}
        names |= with_bias(f"{block}mlp.fc1", size.hidden, d) | with_bias(f"{block}mlp.fc2", d, size.hidden)
    return names | with_bias("norm", d)


def eva02(size: Plain) -> Names:
    """baaivision/EVA `EVA-02/asuka/modeling_finetune.py`, of a fine-tuned base model."""
    d = size.width
    names = {**_embedding(size), "rope.freqs_cos": (size.side**2, 64), "rope.freqs_sin": (size.side**2, 64)}
    for i in range(size.depth):
        block = f"blocks.{i}."
        names |= _block(i, size)
        names |= {f"{block}attn.{part}_proj.weight": (d, d) for part in "qkv"}
        names |= {f"{block}attn.q_bias": (d,), f"{block}attn.v_bias": (d,), f"{block}attn.rope.freqs_cos": (4, 64)}
        names |= with_bias(f"{block}mlp.w1", size.hidden, d) | with_bias(f"{block}mlp.w2", size.hidden, d)
        names |= with_bias(f"{block}mlp.ffn_ln", size.hidden) | with_bias(f"{block}mlp.w3", d, size.hidden)
    return names | with_bias("fc_norm", d) | with_bias("head", 1000, d)


def aimv2(size: Plain) -> Names:
    """apple/ml-aim `aim-v2/src/aim/v2/torch/`: preprocessor and trunk, without biases and with RMS norms."""
    d = size.width
    names: Names = {
        **with_bias("preprocessor.patchifier.proj", d, 3, size.patch, size.patch),
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
        **with_bias(f"{e}patch_embed.proj", d, 3, size.patch, size.patch),
        f"{e}neck.0.weight": (256, d, 1, 1),
        **with_bias(f"{e}neck.1", 256),
        f"{e}neck.2.weight": (256, 256, 3, 3),
        **with_bias(f"{e}neck.3", 256),
        "mask_decoder.iou_token.weight": (1, 256),
        "prompt_encoder.no_mask_embed.weight": (1, 256),
    }
    every = max(size.depth // 4, 2)
    for i in range(size.depth):
        block, rows = f"{e}blocks.{i}.", 2 * (14 if (i + 1) % every else size.side) - 1
        names |= {f"{e}{name}": shape for name, shape in _block(i, size).items()}
        names |= {f"{block}attn.rel_pos_h": (rows, 64), f"{block}attn.rel_pos_w": (rows, 64)}
        names |= with_bias(f"{block}attn.qkv", 3 * d, d)
        names |= with_bias(f"{block}mlp.lin1", size.hidden, d) | with_bias(f"{block}mlp.lin2", d, size.hidden)
    return names


def vjepa2(size: Plain) -> Names:
    """facebookresearch/vjepa2 `src/models/vision_transformer.py`."""
    d = size.width
    names = with_bias("patch_embed.proj", d, 3, 2, size.patch, size.patch)
    for i in range(size.depth):
        names |= _block(i, size) | with_bias(f"blocks.{i}.attn.qkv", 3 * d, d) | _mlp(i, size)
    return names | with_bias("norm", d)


def videomae(size: Plain) -> Names:
    """MCG-NJU/VideoMAE `modeling_pretrain.py`, with some of the decoder."""
    d = size.width
    names = with_bias("encoder.patch_embed.proj", d, 3, 2, size.patch, size.patch)
    for i in range(size.depth):
        block = _block(i, size) | {f"blocks.{i}.attn.{part}_bias": (d,) for part in "qv"} | _mlp(i, size)
        names |= {f"encoder.{name}": shape for name, shape in block.items()}
        names[f"encoder.blocks.{i}.attn.qkv.weight"] = (3 * d, d)
    decoder = {f"decoder.{name}": shape for name, shape in (_block(0, size) | with_bias("head", 1536, d)).items()}
    beside: Names = {"mask_token": (1, 1, d // 2), "encoder_to_decoder.weight": (d // 2, d)}
    return names | with_bias("encoder.norm", d) | decoder | beside


def _mlp(i: int, size: Plain) -> Names:
    d, mlp = size.width, f"blocks.{i}.mlp."
    return with_bias(f"{mlp}fc1", size.hidden, d) | with_bias(f"{mlp}fc2", d, size.hidden)
