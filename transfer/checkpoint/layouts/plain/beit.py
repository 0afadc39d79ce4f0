"""BEiT layouts: timm's Beit, microsoft's BEiT and BEiT v2, SimMIM's ViT, Hugging Face transformers.

SimMIM's ViT is BEiT's: no absolute positions, biases of query and value only, layer scale, and one table of relative
positions that all blocks share in pretraining and of which each block has a copy in fine-tuning.
Sources: microsoft/unilm `beit/modeling_*.py`, microsoft/SimMIM `models/vision_transformer.py`,
transformers `models/beit`.
"""

from __future__ import annotations

from benchmarks.errors import UserError
from transfer.checkpoint.layouts.layout import Layout, Shapes, Weights
from transfer.checkpoint.layouts.pairs import Names, anywhere, has_relative_positions, has_timm_blocks, without
from transfer.checkpoint.layouts.plain.eva import is_other_eva
from transfer.checkpoint.layouts.plain.vit_huggingface import (
    BLOCKS,
    EMBEDDINGS,
    QKV,
    has_beit_attention,
    has_huggingface_blocks,
)

HEADS = ("head.", "lm_head.", "mask_token", "cls_pt_layers.", "cls_pt_norm.", "cls_pt_lm_head.", "decoder.")
TABLE, INDEX = "relative_position_bias_table", "relative_position_index"
_HUGGINGFACE = Names(
    (
        *EMBEDDINGS,
        *BLOCKS,
        ("encoder.layer.{}.attention.attention.query.bias", "blocks.{}.attn.q_bias"),
        ("encoder.layer.{}.attention.attention.value.bias", "blocks.{}.attn.v_bias"),
        (f"encoder.layer.{{}}.attention.attention.relative_position_bias.{TABLE}", f"blocks.{{}}.attn.{TABLE}"),
        ("encoder.layer.{}.lambda_1", "blocks.{}.gamma_1"),
        ("encoder.layer.{}.lambda_2", "blocks.{}.gamma_2"),
        (f"encoder.relative_position_bias.{TABLE}", f"rel_pos_bias.{TABLE}"),
        ("layers.{}.attention.q_proj.bias", "blocks.{}.attn.q_bias"),
        ("layers.{}.attention.v_proj.bias", "blocks.{}.attn.v_bias"),
        (f"layers.{{}}.relative_position_bias.{TABLE}", f"blocks.{{}}.attn.{TABLE}"),
        ("layers.{}.lambda_1", "blocks.{}.gamma_1"),
        ("layers.{}.lambda_2", "blocks.{}.gamma_2"),
        (f"shared_position_bias.{TABLE}", f"rel_pos_bias.{TABLE}"),
        ("layernorm", "norm"),
        ("pooler.layernorm", "fc_norm"),
    ),
    QKV,
    beside=("classifier.", "lm_head.", "embeddings.mask_token"),
)


def _is_beit(shapes: Shapes) -> bool:
    beit = has_timm_blocks(shapes) and has_relative_positions(shapes) and "reg_token" not in shapes
    return beit and not is_other_eva(shapes)


def _is_microsoft(shapes: Shapes) -> bool:
    """Return whether it is BEiT's: pretraining has `lm_head`, and fine-tuned files keep each block's index buffer."""
    own = "lm_head.weight" in shapes or anywhere(shapes, rf"blocks\.\d+\.attn\.{INDEX}")
    return _is_beit(shapes) and own


def _is_simmim(shapes: Shapes) -> bool:
    """Return whether it is SimMIM's: its pretraining has BEiT's shared table and mask token, but no `lm_head`."""
    own = "mask_token" in shapes or f"rel_pos_bias.{INDEX}" in shapes
    return _is_beit(shapes) and own and not _is_microsoft(shapes)


def _is_timm(shapes: Shapes) -> bool:
    return _is_beit(shapes) and not _is_microsoft(shapes) and not _is_simmim(shapes)


def _to_timm(weights: Weights) -> Weights:
    return {name: tensor for name, tensor in without(weights, HEADS).items() if not name.endswith(INDEX)}


def _simmim_from_timm(weights: Weights) -> Weights:
    """Add the index buffers, so that microsoft's model takes the tensors with `strict=True` (its head aside)."""
    from timm.models.beit import gen_relative_position_index

    for name in weights:
        if name.endswith(("attn.qkv.bias", "reg_token", "ls1.gamma", "ls2.gamma", ".fc1_g.weight")):
            rule = "an encoder of BEiT's kind (q_bias and v_bias, gamma_1 and gamma_2), as SimMIM's ViT is"
            raise UserError.about("tensor", name, rule, "choose another --to for a plain ViT: timm or huggingface")
    kept = without(weights, HEADS)
    tables = {name: tensor for name, tensor in kept.items() if name.endswith(TABLE)}
    return kept | {
        name.removesuffix(TABLE) + INDEX: gen_relative_position_index(_window(name, len(table)))
        for name, table in tables.items()
    }


def _window(name: str, rows: int) -> tuple[int, int]:
    """Return the window of a table of (2 * side - 1) ** 2 rows and three for the class token."""
    side = (round((rows - 3) ** 0.5) + 1) // 2 if rows > 3 else 0
    if (2 * side - 1) ** 2 + 3 != rows:
        rule = "(2 * side - 1) ** 2 + 3 rows, of a square window"
        raise UserError.about(name, f"{rows} rows", rule, "choose --to timm, or resize the table first")
    return side, side


BEIT_LAYOUTS: tuple[Layout, ...] = (
    Layout(
        "timm-beit",
        "beit",
        "BEiT of timm; SimMIM's ViT without mask token and buffers",
        _is_timm,
        _to_timm,
        lambda weights: without(weights, HEADS),
    ),
    Layout(
        "beit",
        "beit",
        "BEiT and BEiT v2 (microsoft/unilm), and fine-tuned SimMIM ViT, which has the same names",
        _is_microsoft,
        _to_timm,
    ),
    Layout(
        "simmim-vit", "beit", "SimMIM ViT, pretrained (microsoft/SimMIM)", _is_simmim, _to_timm, _simmim_from_timm, dict
    ),
    Layout(
        "huggingface-beit",
        "beit",
        "BEiT of Hugging Face transformers",
        lambda shapes: has_huggingface_blocks(shapes) and has_beit_attention(shapes),
        _HUGGINGFACE.to_timm,
        lambda weights: _HUGGINGFACE.from_timm(weights, "huggingface"),
        _HUGGINGFACE.names_back,
    ),
)
