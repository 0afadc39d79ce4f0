"""The architecture of a ViT or BEiT, read from its tensors in timm's layout."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch

from benchmarks.encoders import Architecture
from benchmarks.errors import UserError
from transfer.checkpoint.architecture.inferred import Inferred, without_norm
from transfer.checkpoint.architecture.plain.vit_known import BEIT, HEADS_BY_SIZE, SWIGLU, VIT, Arguments, Known, Shape
from transfer.checkpoint.layouts.layout import Weights
from transfer.checkpoint.layouts.pairs import anywhere, has_relative_positions
from transfer.checkpoint.refusal import ANOTHER_MODEL

TABLE = "relative_position_bias_table"
NOT_SQUARE = f"{ANOTHER_MODEL}; encoders of images that are not square are not read"
ASSUMED = "GELU and a LayerNorm eps of 1e-6 are assumed, as in timm: the tensors show neither"
NO_ROTARY = (
    "no rotary positions are assumed, as DeiT III has none: timm's vit_*_rope_ape_224 add them to tensors of the same "
    "names, which --architecture says"
)
NORMED_AFTERWARDS = "vit_base_patch16_rpn_224"
"""timm's ViT whose norms follow attention and MLP, and have the names of those that precede them."""
Sizes = dict[str, tuple[int, ...]]


def infer_vit(weights: Weights, heads: int | None = None) -> Inferred:
    """Return the timm model that `weights` fill exactly.

    `heads` is the number of heads of a plain ViT, which its tensors do not show and convention gives otherwise. Where
    blocks disagree the majority counts, so that one misshapen tensor is reported by name when it is loaded. Raises
    UserError, naming the tensor, where the architecture cannot be inferred.
    """
    sizes: Sizes = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    kernel = _size(sizes, r"patch_embed\.proj\.weight", 4, "patch_embed.proj.weight")
    if kernel[2] != kernel[3]:
        rule = "a square patch (timm has models of no other)"
        raise UserError.about("patch_embed.proj.weight", list(kernel), rule, "use an encoder with square patches")
    width = _size(sizes, r"blocks\.\d+\.norm1\.weight", 1, "blocks.*.norm1.weight")[0]
    _check_tokens(sizes, width)
    relative = has_relative_positions(sizes)
    hidden = _size(sizes, r"blocks\.\d+\.mlp\.fc1\.weight", 2, "blocks.*.mlp.fc1.weight")[0]
    back = _size(sizes, r"blocks\.\d+\.mlp\.fc2\.weight", 2, "blocks.*.mlp.fc2.weight")[1]
    found = _heads(weights, width, hidden, heads)
    shape = Shape(width, _depth(sizes), found.count, kernel[2], hidden, swiglu=hidden == 2 * back)
    arguments = _beit_arguments(sizes, kernel) if relative else _vit_arguments(sizes, kernel)
    known = BEIT if relative else SWIGLU if shape.swiglu else VIT
    size = arguments["img_size"]
    return Inferred(
        architecture=_nearest(known, shape, arguments),
        image_size_px=size if isinstance(size, int) else None,
        patch_size_px=kernel[2],
        window_size=None,
        remarks=(*((found.how,) if found.certain else ()), *_pooling(sizes, relative), *_lost_registers(arguments)),
        norms_as_built={"fc_norm": width} if relative and not anywhere(sizes, r"(fc_)?norm\..*") else {},
        assumed={**({} if found.certain else {"num_heads": found.how}), "norm_eps": ASSUMED},
    )


def with_positions_assumed(inferred: Inferred, names: Iterable[str]) -> Inferred:
    """Return a ViT with a note that it has no rotary positions, where the file's own `names` may be of one that has.

    DeiT III calls its layer scales as timm's rotary ViTs do, and neither gives the class token a position.
    """
    arguments = inferred.architecture.arguments
    if not (arguments.get("no_embed_class") and anywhere(names, r"blocks\.\d+\.gamma_1")):
        return inferred
    return replace(inferred, assumed={**inferred.assumed, "positions": NO_ROTARY})


def _depth(sizes: Sizes) -> int:
    return 1 + max(int(found[1]) for name in sizes if (found := re.match(r"blocks\.(\d+)\.", name)))


def _vit_arguments(sizes: Sizes, kernel: tuple[int, ...]) -> Arguments:
    registers = sizes["reg_token"][1] if "reg_token" in sizes else 0
    token, after = "cls_token" in sizes, anywhere(sizes, r"fc_norm\..*")
    if registers and not (token or after):  # timm's registers without a class token pool first and norm afterwards
        rule = "present beside reg_token, where no fc_norm says that patches are pooled"
        remedy = ANOTHER_MODEL
        raise UserError.about("cls_token", "(missing)", rule, remedy)
    side, embedded = _position_grid(sizes, token + registers, registers)
    biased = anywhere(sizes, r"blocks\.\d+\.attn\.qkv\.bias")
    if after and not (token or registers or biased):
        rule = f"stated: those of timm's {NORMED_AFTERWARDS} follow attention and MLP, and no tensor shows it"
        remedy = f"add --architecture {NORMED_AFTERWARDS}, or the ViT that it is"
        raise UserError.about("order of norms", "(unknown)", rule, remedy)
    return {
        "img_size": side * kernel[2],
        "in_chans": kernel[1],
        "qkv_bias": biased,
        "init_values": 1e-5 if anywhere(sizes, r"blocks\.\d+\.ls[12]\.gamma") else 0.0,
        "class_token": token,
        "reg_tokens": registers,
        "no_embed_class": not embedded,
        "global_pool": "token" if token and not after else "avg",
        "fc_norm": None if token or after else False,
    }


def _beit_arguments(sizes: Sizes, kernel: tuple[int, ...]) -> Arguments:
    shared, own = f"rel_pos_bias.{TABLE}" in sizes, anywhere(sizes, rf"blocks\.\d+\.attn\.{TABLE}")
    absolute = "pos_embed" in sizes
    if not (shared or own or absolute):
        rule = "at least one of them: an encoder that knows no positions was not trained"
        tables = f"rel_pos_bias.{TABLE}, blocks.*.attn.{TABLE}, pos_embed"
        raise UserError.about(tables, "(missing)", rule, ANOTHER_MODEL)
    sides = {f"rel_pos_bias.{TABLE} or blocks.*.attn.{TABLE}": _table_side(sizes)} if shared or own else {}
    if absolute:
        sides["pos_embed"] = _position_grid(sizes, 1, 0)[0]
    if len(set(sides.values())) > 1:
        found = ", ".join(f"{name}: {side}" for name, side in sides.items())
        rule = "the same in all position tables"
        raise UserError.about("patches a side", found, rule, ANOTHER_MODEL)
    return {
        "img_size": next(iter(sides.values())) * kernel[2],
        "in_chans": kernel[1],
        "qkv_bias": anywhere(sizes, r"blocks\.\d+\.attn\.[qv]_bias"),
        "init_values": 0.1 if anywhere(sizes, r"blocks\.\d+\.gamma_[12]") else 0.0,
        "use_abs_pos_emb": absolute,
        "use_rel_pos_bias": own,
        "use_shared_rel_pos_bias": shared,
        "use_fc_norm": None if anywhere(sizes, r"fc_norm\..*") or not anywhere(sizes, r"norm\..*") else False,
    }


def _position_grid(sizes: Sizes, prefix: int, registers: int) -> tuple[int, bool]:
    """Return how many patches `pos_embed` has along a side, and whether it has rows for the prefix tokens too."""
    if "pos_embed" not in sizes:
        raise UserError.about("pos_embed", "(missing)", "present in a ViT", ANOTHER_MODEL)
    rows = sizes["pos_embed"][1]
    patches, all_rows = _root(rows - prefix), _root(rows)
    if all_rows and (registers or not patches):  # with registers timm embeds patches only
        return all_rows, prefix == 0
    if patches:
        return patches, True
    token = "" if "cls_token" in sizes else "; cls_token is missing"
    rule = f"rows for a square number of patches, with or without {prefix} prefix tokens{token}"
    raise UserError.about("pos_embed", list(sizes["pos_embed"]), rule, NOT_SQUARE)


def _table_side(sizes: Sizes) -> int:
    """Return how many patches lie along a side of bias tables.

    These have (2 * side - 1) ** 2 rows, and three more for the class token.
    """
    rows = _size(sizes, rf"(blocks\.\d+\.attn|rel_pos_bias)\.{TABLE}", 2, TABLE)[0]
    span = _root(rows - 3)
    if span % 2 == 0:
        rule = "(2 * side - 1) ** 2 + 3 rows, of a square window"
        name = next(name for name, size in sizes.items() if name.endswith(TABLE) and size[0] == rows)
        raise UserError.about(name, f"{rows} rows", rule, NOT_SQUARE)
    return (span + 1) // 2


def _check_tokens(sizes: Sizes, width: int) -> None:
    for name in ("cls_token", "reg_token", "pos_embed"):
        if name in sizes and (len(sizes[name]) != 3 or sizes[name][0] != 1 or sizes[name][2] != width):
            rule = f"[1, tokens, {width}], the width of the blocks"
            raise UserError.about(name, list(sizes[name]), rule, ANOTHER_MODEL)


@dataclass(frozen=True)
class _Heads:
    """The number of heads, and how it is known."""

    count: int
    how: str
    certain: bool
    """False where it only follows convention."""


def _heads(weights: Weights, width: int, hidden: int, given: int | None) -> _Heads:
    tables = [tensor for name, tensor in weights.items() if name.endswith(TABLE) and tensor.ndim == 2]
    if tables:
        count = Counter(table.shape[1] for table in tables).most_common(1)[0][0]
        if given not in (None, count):
            remedy = "correct num_attention_heads in config.json, or move that file away"
            raise UserError.about("heads", given, f"{count}, the columns of {TABLE}", remedy)
        return _Heads(count, f"{count} heads, from the columns of {TABLE}", certain=True)
    if given is not None:
        if given < 1 or width % given:
            remedy = "correct num_attention_heads in config.json, or move that file away"
            raise UserError.about("heads", given, f"a divisor of the width, {width}", remedy)
        return _Heads(given, f"{given} heads, as given: the tensors do not show it", certain=True)
    if _is_moco_small(weights, width):
        how = "12 heads: the fixed positions are MoCo v3's, whose ViT-S has heads of 32"
        return _Heads(12, how, certain=False)
    heads = HEADS_BY_SIZE.get((width, hidden), 0 if width % 64 else width // 64)
    if not heads:
        rule = "given for widths that are not a multiple of 64: the tensors do not show it"
        remedy = "put Hugging Face's config.json or mimbench's FILE.json beside it, or add --architecture"
        raise UserError.about("heads", f"unknown for width {width}", rule, remedy)
    how = f"{heads} heads of {width // heads}, by convention for width {width}: the tensors do not show it"
    return _Heads(heads, how, certain=False)


def _is_moco_small(weights: Weights, width: int) -> bool:
    """Return whether the fixed table is MoCo v3's, of a ViT-S: sines of rows, then columns; zeros for the class token.

    Source: facebookresearch/moco-v3 `vits.py`. MAE's table has the columns first.
    """
    table = weights.get("pos_embed")
    if width != 384 or table is None or table.is_meta or not (side := _root(table.shape[1] - 1)):
        return False
    waves = 10000.0 ** -(torch.arange(width // 4) / (width // 4))
    angles = torch.arange(side)[:, None] * waves
    line = torch.cat([angles.sin(), angles.cos()], dim=1)
    fixed = torch.cat([line.repeat_interleave(side, 0), line.repeat(side, 1)], dim=1)
    own = table[0].float()
    return not own[0].any() and torch.allclose(own[1:], fixed, atol=1e-3)


def _nearest(known: tuple[Known, ...], shape: Shape, arguments: Arguments) -> Architecture:
    """Return the known name of this shape that needs the fewest arguments, else the first name with all arguments."""
    named = [one for one in known if one.shape == shape]
    if named:
        best = min(named, key=lambda one: len(_differences(one.arguments, arguments)))
        return Architecture(name=best.name, arguments=_differences(best.arguments, arguments))
    size: Arguments = {
        "embed_dim": shape.embed_dim,
        "depth": shape.depth,
        "num_heads": shape.num_heads,
        "patch_size": shape.patch_size,
        "mlp_ratio": _ratio(shape.hidden, shape.embed_dim),
    }
    return Architecture(name=known[0].name, arguments=size | _differences(known[0].arguments, arguments))


def _differences(usual: Arguments, own: Arguments) -> Arguments:
    """Return the arguments that differ. Of layer scale only the presence counts: its values come from the tensors."""
    return {
        name: value
        for name, value in own.items()
        if (bool(value) != bool(usual[name]) if name == "init_values" else value != usual[name])
    }


def _ratio(hidden: int, width: int) -> float:
    """Return a ratio from which `int(width * ratio)` gives `hidden` again."""
    ratio = hidden / width
    return ratio if int(width * ratio) == hidden else (hidden + 0.5) / width


def _pooling(sizes: Sizes, relative: bool) -> tuple[str, ...]:
    if relative and not anywhere(sizes, r"(fc_)?norm\..*"):
        return (without_norm("data2vec and others"),)
    if relative and not anywhere(sizes, r"fc_norm\..*"):
        return (
            "pools by the mean of the normed patches; SimMIM and BEiT fine-tune with a norm after the mean instead",
        )
    return ()


def _lost_registers(arguments: Arguments) -> tuple[str, ...]:
    if arguments.get("class_token") and arguments["no_embed_class"] and not arguments["reg_tokens"]:
        return ("pos_embed has no row for the class token, as beside registers, but there is no reg_token",)
    return ()


def _size(sizes: Sizes, pattern: str, dimensions: int, shown: str) -> tuple[int, ...]:
    """Return the most frequent shape of the tensors that match. Raises UserError where there is none."""
    found = Counter(size for name, size in sizes.items() if re.fullmatch(pattern, name) and len(size) == dimensions)
    if not found:
        rule = f"a tensor of {dimensions} dimensions, present in every ViT"
        raise UserError.about(shown, "(missing)", rule, ANOTHER_MODEL)
    return found.most_common(1)[0][0]


def _root(number: int) -> int:
    """Return the square root of a square, 0 for any other number."""
    root: Any = round(number**0.5) if number > 0 else 0
    return int(root) if root * root == number else 0
