"""Foreign ViT files for tests: listings of true names and shapes, the same at a small size with random tensors, and
what a plain pre-norm transformer computes from them, read from the papers and not from our code."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import timm
import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from benchmarks.encoders import Architecture
from benchmarks.errors import UserError
from transfer.checkpoint.architecture.plain.infer_vit import infer_vit
from transfer.checkpoint.layouts.layout import Layout, Weights
from transfer.checkpoint.layouts.plain.beit import BEIT_LAYOUTS
from transfer.checkpoint.layouts.plain.vit import VIT_LAYOUTS
from transfer.encoder.proof.loading import load_encoder

LAYOUTS = {layout.name: layout for layout in VIT_LAYOUTS + BEIT_LAYOUTS}
GRID = 3
"""The number of patches along the height and the width in the small files, which differ."""


@dataclass(frozen=True)
class Listing:
    """One fixture: see `source` for where its names and shapes were read."""

    source: str
    layout: str
    prefix: str
    """Before the encoder's names; other tensors of the file lie beside it."""
    architecture: dict[str, Any]
    heads: int
    """Of the small file."""
    repeat: dict[str, int]
    small_repeat: dict[str, int]
    small: dict[str, int]
    """From the true sizes to the small ones."""
    tensors: dict[str, list[int]]

    def shapes(self, *, small: bool = False) -> dict[str, tuple[int, ...]]:
        """Return names and shapes as the encoder's layout sees them, wrappers stripped."""
        counts = self.small_repeat if small else self.repeat
        listed: dict[str, tuple[int, ...]] = {}
        for name, shape in self.tensors.items():
            letter = "i" if "{i}" in name else "j"
            for number in range(counts[letter] if "{" in name else 1):
                full = name.format(c=number // counts.get("per_chunk", 1), i=number, j=number)
                stripped = full.removeprefix(self.prefix).removeprefix("module.")
                listed[stripped] = tuple(self.small.get(str(size), size) if small else size for size in shape)
        return listed


LISTINGS = {
    path.stem: Listing(**json.loads(path.read_text(encoding="utf-8")))
    for path in sorted((Path(__file__).parent / "fixtures" / "vit").glob("*.json"))
}


def small_weights(listing: Listing) -> Weights:
    """Return random tensors of a listing at its small size: every parameter and table away from its default."""
    weights = {name: random_tensor(name, shape) for name, shape in listing.shapes(small=True).items()}
    if listing.layout == "moco-v3":
        weights["pos_embed"] = moco_positions(GRID, 384)
    return weights


def random_tensor(name: str, shape: tuple[int, ...]) -> Tensor:
    if name.endswith("relative_position_index"):
        return relative_positions(GRID)
    if len(shape) >= 2 and "table" not in name and "token" not in name and "pos_embed" not in name:
        return torch.randn(shape) * 0.08
    return torch.randn(shape) * 0.5 + (1 if re.search(r"(norm|ln)[^.]*\.weight", name) else 0)


def relative_positions(side: int) -> Tensor:
    """Return the row of BEiT's table for each pair of tokens: offsets, then from, to and among the class token."""
    rows = (2 * side - 1) ** 2
    index = torch.zeros(side * side + 1, side * side + 1, dtype=torch.long)
    for query in range(side * side):
        for key in range(side * side):
            down, right = query // side - key // side, query % side - key % side
            index[query + 1, key + 1] = (down + side - 1) * (2 * side - 1) + right + side - 1
    index[0, :], index[:, 0] = rows, rows + 1
    index[0, 0] = rows + 2
    return index


def moco_positions(side: int, width: int) -> Tensor:
    """Return MoCo v3's fixed table: for each patch the sine and cosine of its row, then of its column."""
    table = torch.zeros(1, side * side + 1, width)
    quarter = width // 4
    for patch in range(side * side):
        for wave in range(quarter):
            scale = 10000.0 ** (-wave / quarter)
            row, column = torch.tensor(patch // side * scale), torch.tensor(patch % side * scale)
            values = (row.sin(), row.cos(), column.sin(), column.cos())
            for part, value in enumerate(values):
                table[0, patch + 1, part * quarter + wave] = value
    return table


def reference_tokens(weights: Weights, images: Tensor, heads: int) -> Tensor:
    """Return the tokens [B, tokens, width] after the last block and the final norm, if there is one.

    Reads the names of the official repositories as they stand in the file (microsoft, facebookresearch, bytedance).
    """
    kernel = weights["patch_embed.proj.weight"]
    patches = functional.conv2d(images, kernel, weights["patch_embed.proj.bias"], stride=kernel.shape[-1])
    tokens = patches.flatten(2).transpose(1, 2)
    tokens = torch.cat([weights["cls_token"].expand(len(images), -1, -1), tokens], dim=1)
    tokens = tokens + weights.get("pos_embed", torch.zeros(()))
    if "register_tokens" in weights:
        registers = weights["register_tokens"].expand(len(images), -1, -1)
        tokens = torch.cat([tokens[:, :1], registers, tokens[:, 1:]], dim=1)
    blocks = {name.split("norm1")[0] for name in weights if re.match(r"blocks\..*norm1", name)}
    for block in sorted(blocks, key=lambda name: int(name.split(".")[-2])):
        tokens = tokens + _scale(weights, block, 1) * _attention(
            weights, block, _norm(weights, block + "norm1", tokens), heads
        )
        tokens = tokens + _scale(weights, block, 2) * _mlp(weights, block, _norm(weights, block + "norm2", tokens))
    return _norm(weights, "norm", tokens) if "norm.weight" in weights else tokens


def _norm(weights: Weights, name: str, tokens: Tensor) -> Tensor:
    return functional.layer_norm(tokens, tokens.shape[-1:], weights[name + ".weight"], weights[name + ".bias"], 1e-6)


def _scale(weights: Weights, block: str, number: int) -> Tensor:
    named = [f"{block}gamma_{number}", f"{block}ls{number}.gamma"]
    return next((weights[name] for name in named if name in weights), torch.ones(()))


def _attention(weights: Weights, block: str, tokens: Tensor, heads: int) -> Tensor:
    joined = tokens @ weights[block + "attn.qkv.weight"].T
    query, key, value = joined.chunk(3, dim=-1)
    if block + "attn.q_bias" in weights:
        query, value = query + weights[block + "attn.q_bias"], value + weights[block + "attn.v_bias"]
    else:
        biases = weights[block + "attn.qkv.bias"].chunk(3)
        query, key, value = query + biases[0], key + biases[1], value + biases[2]
    query, key, value = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in (query, key, value))
    scores = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
    for place in ("rel_pos_bias.", block + "attn."):
        if place + "relative_position_bias_table" in weights:
            index = weights[place + "relative_position_index"]
            scores = scores + weights[place + "relative_position_bias_table"][index].permute(2, 0, 1)
    mixed = (scores.softmax(-1) @ value).transpose(1, 2).flatten(2)
    return mixed @ weights[block + "attn.proj.weight"].T + weights[block + "attn.proj.bias"]


def _mlp(weights: Weights, block: str, tokens: Tensor) -> Tensor:
    first, second = ("w12", "w3") if block + "mlp.w12.weight" in weights else ("fc1", "fc2")
    wide = tokens @ weights[f"{block}mlp.{first}.weight"].T + weights[f"{block}mlp.{first}.bias"]
    if first == "w12":
        gate, hidden = wide.chunk(2, dim=-1)
        wide = functional.silu(gate) * hidden
    else:
        wide = functional.gelu(wide)
    return wide @ weights[f"{block}mlp.{second}.weight"].T + weights[f"{block}mlp.{second}.bias"]


def recognised(weights: Weights) -> list[str]:
    """Return the names of all ViT and BEiT layouts that take the tensors for theirs."""
    shapes = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    return [name for name, layout in LAYOUTS.items() if layout.recognises(shapes)]


def build(weights: Weights, heads: int | None = None) -> nn.Module:
    """Return plain timm's model of the inferred architecture, with the tensors loaded and none missing or left over."""
    architecture = infer_vit(weights, heads).architecture
    model: nn.Module = timm.create_model(architecture.name, num_classes=0, **architecture.arguments)
    model.load_state_dict(weights, strict=True)
    return model.eval()


def complaint(layout: Layout, weights: Weights) -> str:
    """Return all messages about a damaged file when it is converted, inferred and loaded; empty where nothing is."""
    converted = layout.to_timm(weights)
    try:
        architecture = infer_vit(converted).architecture
    except UserError as error:
        return str(error)
    report = load_encoder(_model(architecture.model_dump_json()), converted, layout.name)
    return "\n".join((*report.missing, *report.unexpected, *report.mismatched))


@lru_cache(maxsize=64)
def _model(architecture: str) -> nn.Module:
    found = Architecture.model_validate_json(architecture)
    model: nn.Module = timm.create_model(found.name, num_classes=0, **found.arguments)
    return model
