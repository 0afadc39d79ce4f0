"""The layouts of Swin encoders, and the rules that SwinV2 shares with them.

timm (since 0.9) merges patches at the start of a stage, the others at the end of the one before. Buffers
(`relative_position_index`, `attn_mask`) are kept, as they show window and image size; a dense model's norms of the
earlier stages become `head.output_norms.*`, as they belong to what was trained on top of the encoder.

Sources, read for names and shapes: microsoft/Swin-Transformer, microsoft/SimMIM, facebookresearch/detectron2,
open-mmlab/mmsegmentation, mmpretrain and mmselfsup, torchvision, transformers and timm.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from benchmarks.errors import UserError
from transfer.checkpoint.layouts.layout import Layout, Shapes, Weights
from transfer.checkpoint.layouts.renaming import Rule, join, matches, split, to_ours, to_theirs

if TYPE_CHECKING:
    from torch import Tensor

TIMM_BLOCK = r"layers\.\d+\.blocks\.\d+\."
MM_BLOCK = r"stages\.\d+\.blocks\.\d+\."
TORCHVISION_BLOCK = r"features\.\d+\.\d+\."
HF_BLOCK = r"encoder\.layers\.\d+\.blocks\.\d+\."

_TABLE = "relative_position_bias_table"
_QKV = ("q", "k", "v")
_OUTPUT_NORM = re.compile(r"norm(\d+)\.(.+)")
_HEAD_NORM = re.compile(r"head\.output_norms\.(\d+)\.(.+)")

MICROSOFT_RULES = (
    Rule("layers.{i}.downsample.{rest}", "layers.{i}.downsample.{rest}", plus=-1),
    Rule("head.{rest}", "head.fc.{rest}"),
)
TORCHVISION_RULES = (
    Rule("features.0.0.{rest}", "patch_embed.proj.{rest}"),
    Rule("features.0.2.{rest}", "patch_embed.norm.{rest}"),
    Rule("features.{i}.{j}.mlp.0.{rest}", "layers.{i}.blocks.{j}.mlp.fc1.{rest}", times=2, plus=1),
    Rule("features.{i}.{j}.mlp.3.{rest}", "layers.{i}.blocks.{j}.mlp.fc2.{rest}", times=2, plus=1),
    Rule("features.{i}.{j}.{rest}", "layers.{i}.blocks.{j}.{rest}", times=2, plus=1),
    Rule("features.{i}.reduction.{rest}", "layers.{i}.downsample.reduction.{rest}", times=2),
    Rule("features.{i}.norm.{rest}", "layers.{i}.downsample.norm.{rest}", times=2),
    Rule("head.{rest}", "head.fc.{rest}"),
)


def from_unfold(tensor: Tensor) -> Tensor:
    """Reorder the last dimension of OpenMMLab's patch merging from [C * 4] to [4 * C], columns first, as elsewhere.

    `nn.Unfold` lists the four patches of a channel side by side, row by row. A size that is not divisible by four is
    kept as it is.
    """
    if not tensor.ndim or tensor.shape[-1] % 4:
        return tensor
    patches = tensor.reshape(*tensor.shape[:-1], -1, 2, 2)  # [..., C, row, column]
    return patches.movedim(-3, -1).transpose(-2, -3).reshape(tensor.shape)


def to_unfold(tensor: Tensor) -> Tensor:
    """Undo `from_unfold`."""
    if not tensor.ndim or tensor.shape[-1] % 4:
        return tensor
    patches = tensor.reshape(*tensor.shape[:-1], 2, 2, -1)  # [..., column, row, C]
    return patches.movedim(-1, -3).transpose(-1, -2).reshape(tensor.shape)


MM_RULES = (
    Rule("patch_embed.projection.{rest}", "patch_embed.proj.{rest}"),
    Rule("stages.{i}.blocks.{j}.attn.attn_mask", "layers.{i}.blocks.{j}.attn_mask"),
    Rule("stages.{i}.blocks.{j}.attn.w_msa.{rest}", "layers.{i}.blocks.{j}.attn.{rest}"),
    Rule("stages.{i}.blocks.{j}.ffn.layers.0.0.{rest}", "layers.{i}.blocks.{j}.mlp.fc1.{rest}"),
    Rule("stages.{i}.blocks.{j}.ffn.layers.1.{rest}", "layers.{i}.blocks.{j}.mlp.fc2.{rest}"),
    Rule("stages.{i}.blocks.{j}.{rest}", "layers.{i}.blocks.{j}.{rest}"),
)
_MMSEG_RULES = (
    *MM_RULES,
    Rule("stages.{i}.downsample.{rest}", "layers.{i}.downsample.{rest}", plus=-1, read=from_unfold, write=to_unfold),
)
_HF = "encoder.layers.{i}.blocks.{j}."
_OURS = "layers.{i}.blocks.{j}."
HF_RULES = (
    Rule("embeddings.patch_embeddings.projection.{rest}", "patch_embed.proj.{rest}"),
    Rule("embeddings.norm.{rest}", "patch_embed.norm.{rest}"),
    Rule("embeddings.mask_token", "mask_token"),
    Rule("embeddings.position_embeddings", "absolute_pos_embed"),
    Rule(_HF + "attention.output.dense.{rest}", _OURS + "attn.proj.{rest}"),
    Rule(_HF + "attention.self.{rest}", _OURS + "attn.{rest}"),
    Rule(_HF + "intermediate.dense.{rest}", _OURS + "mlp.fc1.{rest}"),
    Rule(_HF + "output.dense.{rest}", _OURS + "mlp.fc2.{rest}"),
    Rule(_HF + "layernorm_before.{rest}", _OURS + "norm1.{rest}"),
    Rule(_HF + "layernorm_after.{rest}", _OURS + "norm2.{rest}"),
    Rule("encoder.layers.{i}.downsample.{rest}", "layers.{i}.downsample.{rest}", plus=-1),
    Rule("layernorm.{rest}", "norm.{rest}"),
    Rule("classifier.{rest}", "head.fc.{rest}"),
    Rule("hidden_states_norms.stage{i}.{rest}", "head.output_norms.{i}.{rest}", plus=1),
    # The backbone models save this one module with a prefix.
    Rule("swin.layernorm.{rest}", "norm.{rest}"),
    Rule("swinv2.layernorm.{rest}", "norm.{rest}"),
)
_HF_SWIN_RULES = (
    *(
        Rule(f"{_HF}attention.self.{name}.{{rest}}", f"{_OURS}attn.{part}.{{rest}}")
        for name, part in zip(("query", "key", "value"), _QKV, strict=True)
    ),
    *HF_RULES,
    # The names that models of transformers 5 have in memory; their files have the older ones.
    *(Rule(f"{_HF}attention.{part}_proj.{{rest}}", f"{_OURS}attn.{part}.{{rest}}") for part in _QKV),
    Rule(_HF + "attention.o_proj.{rest}", _OURS + "attn.proj.{rest}"),
    Rule(_HF + "attention.relative_position_bias.{rest}", _OURS + "attn.{rest}"),
    Rule(_HF + "mlp.{rest}", _OURS + "mlp.{rest}"),
)


def name_last_norm(weights: Weights) -> Weights:
    """Rename the output norm of the last stage (`norm3`) to `norm`, those of earlier stages to `head.output_norms.*`.

    Raises UserError where a checkpoint holds both `norm3` and `norm`.
    """
    last = _stages(weights) - 1
    named: Weights = {}
    for name, tensor in weights.items():
        match = _OUTPUT_NORM.fullmatch(name)
        if match:
            stage, rest = int(match[1]), match[2]
            name = f"norm.{rest}" if stage == last else f"head.output_norms.{stage}.{rest}"
        if name in named:
            rule = "one norm after the last stage"
            raise UserError.about("tensor", name, rule, f"remove either `{name}` or `norm{last}` from the checkpoint")
        named[name] = tensor
    return named


def number_last_norm(weights: Weights) -> Weights:
    """Undo `name_last_norm`."""
    last = _stages(weights) - 1
    numbered = {re.sub(r"^norm\.", f"norm{last}.", name): tensor for name, tensor in weights.items()}
    return {_HEAD_NORM.sub(r"norm\1.\2", name): tensor for name, tensor in numbered.items()}


def merges_at_end(shapes: Shapes) -> bool:
    """Return whether patches are merged at the end of a stage (the original order) rather than at its start (timm).

    Widths decide, as any file may lack its head or some tensors: a merging of 4C to 2C channels ends a stage of width
    C, and starts one of width 2C.
    """
    at_end = at_start = 0
    for name, shape in shapes.items():
        match = re.fullmatch(r"layers\.(\d+)\.downsample\.reduction\.weight", name)
        if match and len(shape) == 2:
            widths = [
                shapes[norm] for norm in shapes if re.fullmatch(rf"layers\.{match[1]}\.blocks\.\d+\.norm1\.\w+", norm)
            ]
            at_end += (shape[1] // 4,) in widths
            at_start += (shape[0],) in widths
    if at_end == at_start:
        return matches(shapes, r"layers\.0\.downsample\..+")
    return at_end > at_start


def numbers_norms(shapes: Shapes) -> bool:
    """Return whether the encoder's norms are numbered by stage, as in dense backbones."""
    return matches(shapes, r"norm\d+\.(weight|bias)")


def is_flat(shapes: Shapes) -> bool:
    """Return whether the encoder is one of images; kernels of five dimensions belong to encoders of videos."""
    return all(len(shape) < 5 for shape in shapes.values())


def _has_tables(shapes: Shapes, prefix: str) -> bool:
    """Return whether blocks have learned tables (Swin), and no network in their place (SwinV2)."""
    return is_flat(shapes) and matches(shapes, prefix + _TABLE) and not matches(shapes, r".+\.logit_scale")


def _stages(weights: Weights) -> int:
    numbers = [int(match[1]) for name in weights if (match := re.match(r"layers\.(\d+)\.", name))]
    return max(numbers, default=0) + 1


def is_timm(shapes: Shapes) -> bool:
    """Return whether tensors of Swin or SwinV2 are in timm's present layout, not in the original one."""
    return not merges_at_end(shapes) and not numbers_norms(shapes)


def is_microsoft(shapes: Shapes) -> bool:
    """Return whether tensors of Swin or SwinV2 are in the original layout, without norms numbered by stage."""
    return merges_at_end(shapes) and not numbers_norms(shapes)


def read_microsoft(weights: Weights) -> Weights:
    """Turn Microsoft's layout into timm's."""
    return to_ours(weights, MICROSOFT_RULES)


def write_microsoft(weights: Weights) -> Weights:
    """Turn timm's layout into Microsoft's."""
    return to_theirs(weights, MICROSOFT_RULES)


def read_torchvision(weights: Weights) -> Weights:
    """Turn torchvision's layout into timm's."""
    return to_ours(weights, TORCHVISION_RULES)


def write_torchvision(weights: Weights) -> Weights:
    """Turn timm's layout into torchvision's."""
    return to_theirs(weights, TORCHVISION_RULES)


def _read_hf(weights: Weights) -> Weights:
    parts = to_ours(weights, _HF_SWIN_RULES)
    for suffix in ("weight", "bias"):
        parts = join(parts, tuple(f".attn.{part}.{suffix}" for part in _QKV), f".attn.qkv.{suffix}")
    return parts


def _write_hf(weights: Weights) -> Weights:
    for suffix in ("weight", "bias"):
        weights = split(weights, f".attn.qkv.{suffix}", tuple(f".attn.{part}.{suffix}" for part in _QKV))
    return to_theirs(weights, _HF_SWIN_RULES)


SWIN_LAYOUTS: tuple[Layout, ...] = (
    Layout(
        name="torchvision-swin",
        family="swin",
        description="torchvision's swin_t, swin_s, swin_b",
        recognises=lambda shapes: _has_tables(shapes, TORCHVISION_BLOCK + r"attn\."),
        to_timm=read_torchvision,
        from_timm=write_torchvision,
    ),
    Layout(
        name="huggingface-swin",
        family="swin",
        description="Hugging Face transformers' Swin (SwinModel, with and without a head)",
        recognises=lambda shapes: _has_tables(shapes, HF_BLOCK + r"attention\.(self|relative_position_bias)\."),
        to_timm=_read_hf,
        from_timm=_write_hf,
    ),
    Layout(
        name="mmseg-swin",
        family="swin",
        description="OpenMMLab's Swin: mmseg, mmdet, mmpretrain, and SimMIM of mmpretrain and mmselfsup",
        recognises=lambda shapes: _has_tables(shapes, MM_BLOCK + r"attn\.w_msa\."),
        to_timm=lambda weights: name_last_norm(to_ours(weights, _MMSEG_RULES)),
        from_timm=lambda weights: to_theirs(number_last_norm(weights), _MMSEG_RULES),
    ),
    Layout(
        name="detectron2-swin",
        family="swin",
        description="detectron2's Swin, and the dense backbones of microsoft's detection and segmentation code",
        recognises=lambda shapes: _has_tables(shapes, TIMM_BLOCK + r"attn\.") and numbers_norms(shapes),
        to_timm=lambda weights: name_last_norm(read_microsoft(weights)),
        from_timm=lambda weights: write_microsoft(number_last_norm(weights)),
    ),
    Layout(
        name="microsoft-swin",
        family="swin",
        description="microsoft/Swin-Transformer and microsoft/SimMIM; timm before 0.9",
        recognises=lambda shapes: _has_tables(shapes, TIMM_BLOCK + r"attn\.") and is_microsoft(shapes),
        to_timm=read_microsoft,
        from_timm=write_microsoft,
    ),
    Layout(
        name="timm-swin",
        family="swin",
        description="timm since 0.9, and what this program exports",
        recognises=lambda shapes: _has_tables(shapes, TIMM_BLOCK + r"attn\.") and is_timm(shapes),
        to_timm=dict,
        from_timm=dict,
    ),
)
