"""What one image costs an encoder, by arithmetic from its shape: operations, parameters, what is kept for backward.

Formulas are those of the layers: a matrix of m x n takes 2 m n operations for each token. What a block keeps was
counted once from autograd (`KEPT`), and a test counts it again.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from pydantic import JsonValue

from benchmarks.catalogue.backbones import Shape, shape_of
from benchmarks.encoders import Architecture

WINDOW = re.compile(r"_window(\d+)(?:to(\d+))?")
"""In a timm name: the window of a model, and the one to which it was resized."""
RESNET50 = {"macs": 4.09e9, "parameters": 23.5e6, "kept": 22.2e6, "block": 4.5e6}
"""Of one image of 224 px. Multiplications: torchvision's table of weights. Kept are each convolution's output and
its activation, 11.1 million numbers each: arXiv:2003.13678, table of ResNets."""
RESNET_PX = 224


class Kept(NamedTuple):
    """Bytes that a block keeps for its backward pass, for each token and channel, beside the attention's weights."""

    fp32: float
    bf16: float
    """Under autocast, which keeps some of it in both precisions."""
    fast_fp32: float
    fast_bf16: float
    """By the fast step of pretraining, which computes norms and GELU again."""

    def bytes(self, precision: str, fast: bool) -> float:
        """Return them for a precision, and for the plain or the fast step."""
        if precision in HALVES:
            return self.fast_bf16 if fast and precision == "bf16" else self.bf16  # fp16 runs blocks under autocast
        return self.fast_fp32 if fast else self.fp32


KEPT = {"swin": Kept(64, 37, 40, 21), "swinv2": Kept(95, 65, 65, 33), "vit": Kept(78, 60, 78, 60)}
INPUT_BYTES = 4.0
"""For each token and channel of a block whose activations are computed again: its input."""
HALVES = ("bf16", "fp16")
SIZES = {"fp32": 4, **dict.fromkeys(HALVES, 2)}
"""Bytes of a number that is multiplied, by precision."""


class Volume(NamedTuple):
    """What an encoder sees at once, in pixels and frames."""

    height_px: int
    width_px: int
    frames: int = 1


class Cut(NamedTuple):
    """How an encoder cuts what it sees, where a recipe says so; None: as its own model does."""

    window: tuple[int, int] | None = None
    patch_px: int | None = None
    patch_frames: int = 1
    window_frames: int = 1


class Block(NamedTuple):
    """Blocks of one stage, all alike."""

    depth: int
    width: int
    heads: int
    tokens: int
    padded: int
    """Tokens with those that fill up windows."""
    window: int
    """Tokens that attend to one another."""

    @property
    def macs(self) -> float:
        """Multiplications of one block: queries, keys, values and output; two products of attention; two of the MLP."""
        c = self.width
        return 4.0 * c * c * self.padded + 2.0 * c * self.window * self.padded + 8.0 * c * c * self.tokens

    @property
    def parameters(self) -> float:
        return 12.0 * self.width**2 + 13.0 * self.width

    @property
    def channels(self) -> float:
        """Numbers of its input."""
        return float(self.width * self.padded)

    @property
    def attention(self) -> float:
        """Weights of attention, of all heads."""
        return float(self.heads * self.padded * self.window)


@dataclass(frozen=True)
class EncoderCost:
    """What one image, or clip, costs an encoder."""

    shape: Shape
    flops: float
    """Operations of one forward pass, a multiplication and an addition being two."""
    parameters: float
    channels: tuple[int, ...]
    """Of the map of each stage."""
    kept: dict[tuple[str, bool, bool], float]
    """Bytes kept for the backward pass, by precision, whether the step is the fast one, whether blocks are computed
    again."""
    largest_block: float
    """The parameters of the largest block."""
    largest_kept: float
    """The numbers that the largest block works on at once, for the backward pass."""

    @property
    def blocks(self) -> int:
        return sum(self.shape.depths)


def encoder_cost(architecture: Architecture, volume: Volume, cut: Cut = Cut()) -> EncoderCost | None:  # noqa: B008 (a constant)
    """Return what an encoder costs; None for one that is none of `benchmarks.catalogue.backbones`' families."""
    shape = shape_of(architecture)
    if shape is None or min((shape.width, shape.patch_px, *shape.depths, *shape.heads)) < 1:
        return None
    if shape.family == "resnet":
        return _resnet(shape, volume)
    if not shape.depths or len(shape.heads) != len(shape.depths):
        return None
    shape = shape._replace(patch_px=cut.patch_px or shape.patch_px)
    pixels = architecture.in_chans * shape.patch_px**2 * cut.patch_frames
    if shape.family == "vit":
        blocks, merged = [_plain_blocks(shape, volume)], []
    else:
        window = cut.window or _own_window(architecture)
        if window is None:
            return None
        blocks = list(_windowed_blocks(shape, volume, window, cut))
        merged = [(after.tokens, before.width) for before, after in itertools.pairwise(blocks)]
    return _summed(shape, blocks, merged, pixels)


def _summed(shape: Shape, blocks: list[Block], merged: list[tuple[int, int]], pixels: int) -> EncoderCost:
    first = blocks[0]
    macs = first.tokens * pixels * first.width + sum(each.depth * each.macs for each in blocks)
    macs += sum(tokens * 8.0 * width**2 for tokens, width in merged)
    parameters = (pixels + 3.0) * first.width + sum(each.depth * each.parameters for each in blocks)
    parameters += sum(8.0 * width**2 + 8.0 * width for _, width in merged) + 2.0 * blocks[-1].width
    around = first.tokens * (pixels + 3.0 * first.width) + sum(8.0 * tokens * width for tokens, width in merged)
    kept = {}
    for precision, bytes_each in SIZES.items():
        for fast in (False, True):
            rate = KEPT[shape.family].bytes(precision, fast)
            weights = 0.0 if shape.family == "vit" else float(bytes_each)
            whole = sum(each.depth * (rate * each.channels + weights * each.attention) for each in blocks)
            inputs = sum(each.depth * INPUT_BYTES * each.channels for each in blocks)
            kept[precision, fast, False] = whole + bytes_each * around
            kept[precision, fast, True] = inputs + bytes_each * around
    return EncoderCost(
        shape=shape,
        flops=2.0 * macs,
        parameters=parameters,
        channels=tuple(each.width for each in blocks) if shape.family != "vit" else (shape.width,) * 4,
        kept=kept,
        largest_block=max(each.parameters for each in blocks),
        largest_kept=max(16.0 * each.channels + each.attention for each in blocks),
    )


def _plain_blocks(shape: Shape, volume: Volume) -> Block:
    grid = math.ceil(volume.height_px / shape.patch_px) * math.ceil(volume.width_px / shape.patch_px)
    tokens = grid * volume.frames + 1
    return Block(sum(shape.depths), shape.width, shape.heads[0], tokens, tokens, tokens)


def _windowed_blocks(shape: Shape, volume: Volume, window: tuple[int, int], cut: Cut) -> Iterator[Block]:
    """Yield a Swin's stages: each halves height and width, and fills its map up to whole windows."""
    times = max(1, volume.frames // cut.patch_frames)
    grid = [times, *(math.ceil(px / shape.patch_px) for px in (volume.height_px, volume.width_px))]
    for level, (depth, heads) in enumerate(zip(shape.depths, shape.heads, strict=True)):
        sides = [grid[0], *(math.ceil(side / 2**level) for side in grid[1:])]
        windows = [min(most, side) for most, side in zip((cut.window_frames, *window), sides, strict=True)]
        padded = [math.ceil(side / step) * step for side, step in zip(sides, windows, strict=True)]
        yield Block(depth, shape.width << level, heads, math.prod(sides), math.prod(padded), math.prod(windows))


def _own_window(architecture: Architecture) -> tuple[int, int] | None:
    """Return the window that an architecture states, or its timm name."""
    given: JsonValue = architecture.arguments.get("window_size")
    if given is None:
        found = WINDOW.search(architecture.name)
        given = int(found[2] or found[1]) if found else None
    if isinstance(given, list) and given and all(isinstance(each, int) for each in given):
        sides = [each for each in given if isinstance(each, int)]
        return (sides[0], sides[-1])
    return (given, given) if isinstance(given, int) and given > 0 else None


def _resnet(shape: Shape, volume: Volume) -> EncoderCost:
    scale = volume.frames * volume.height_px * volume.width_px / RESNET_PX**2
    numbers = RESNET50["kept"] * scale
    kept = {
        (precision, fast, again): numbers * size * (0.3 if again else 1.0)
        for precision, size in SIZES.items()
        for fast in (False, True)
        for again in (False, True)
    }
    return EncoderCost(
        shape=shape,
        flops=2.0 * RESNET50["macs"] * scale,
        parameters=RESNET50["parameters"],
        channels=(256, 512, 1024, 2048),
        kept=kept,
        largest_block=RESNET50["block"],
        largest_kept=numbers / 16,
    )
