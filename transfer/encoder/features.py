"""Features of a frozen encoder, taken from its output or from the blocks inside it."""

from __future__ import annotations

from collections.abc import Collection, Container, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeGuard, get_args

import torch
from torch import Tensor, nn

from benchmarks.errors import UserError
from benchmarks.families.parts import TOKENS
from benchmarks.families.table import family_of
from transfer.encoder.sizes import Pooling

OUTPUT = 0
"""The number of the encoder's own output, after its last norm; blocks count from 1."""


@dataclass(frozen=True)
class Feature:
    """One vector of an image: the pooled tokens of a layer, or of the last blocks, joined.

    Of the encoder's output, it may be what the encoder's own head takes.

    Joined blocks each pass the encoder's last norm, if they have its width; a single block inside does not. Of joined
    blocks, class-token-and-mean takes every class token, and the mean of the last alone, as DINOv2 does.
    """

    layers: tuple[int, ...]
    pooling: Pooling

    @property
    def of_output(self) -> bool:
        """Whether it is taken from the encoder's output alone."""
        return self.layers == (OUTPUT,)


@dataclass(frozen=True, order=True)
class Summary:
    """One vector of a layer, of which features are put together; every feature is some of them, joined in order."""

    layer: int
    kind: Literal["own", "token", "mean", "patches"]
    """What the encoder's own head takes, the class token, the mean of the patches, or all patches one after another."""
    normed: bool = False
    """Whether a block's tokens have passed the encoder's last norm, as those of joined blocks do."""

    @property
    def name(self) -> str:
        """A name of it that files may have: `output.mean`, `block7.token.normed`."""
        where = "output" if self.layer == OUTPUT else f"block{self.layer}"
        return f"{where}.{self.kind}{'.normed' if self.normed else ''}"


class FrozenEncoder(nn.Module):
    """A timm model without a head that never changes: it has no gradients and stays in evaluation mode.

    Its `layers` are OUTPUT or numbers of blocks, counted through all stages of a Swin.
    """

    def __init__(self, backbone: nn.Module, layers: tuple[int, ...], image_size_px: int, channels: int) -> None:
        super().__init__()
        self.backbone: Any = backbone.requires_grad_(False)
        self.layers = layers
        self._found: dict[int, Tensor] = {}
        self._kept: Container[int] = layers
        """The blocks whose outputs are kept in the pass that is being made."""
        self._family = family_of(backbone)
        self._prefix, self._has_class_token = self._family.prefix_tokens, self._family.has_class_token
        self._token_is_own = self._has_class_token and self._family.takes_class_token
        for number, block in enumerate(blocks_of(backbone) if layers != (OUTPUT,) else (), start=1):
            if number in layers:
                block.register_forward_hook(self._keep(number))
        self.eval()
        device = next(backbone.parameters(), torch.zeros(())).device  # raw pixels have no parameters
        self._image = torch.zeros(1, channels, image_size_px, image_size_px, device=device)

    def _keep(self, number: int) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            if number in self._kept:
                self._found[number] = output

        return hook

    def train(self, mode: bool = True) -> FrozenEncoder:  # noqa: ARG002 (nn.Module's signature)
        """Stay in evaluation mode."""
        return super().train(False)

    @property
    def widths(self) -> list[int]:
        """The width of the tokens of each layer. Raises UserError where an output is no tokens."""
        return [width for _, width in self._sizes]

    @cached_property
    def _sizes(self) -> list[tuple[int, int]]:
        """The number and the width of the tokens of each layer."""
        return [(int(tokens.shape[1]), int(tokens.shape[2])) for tokens in self.tokens(self._image)]

    @torch.no_grad()
    def outputs(self, images: Tensor, layers: Container[int] | None = None) -> dict[int, Any]:
        """Return what every layer gives, or each of `layers`, as it gives it; its own output is always among it."""
        self._found.clear()
        self._kept = self.layers if layers is None else layers
        self._found[OUTPUT] = self.backbone.forward_features(images)  # the hooks add the blocks
        found = dict(self._found)
        self._found.clear()
        return found

    def tokens(self, images: Tensor) -> list[Tensor]:
        """Return the tokens [B, N, D] of every layer, class token first where there is one."""
        found = self.outputs(images)
        return [self._family.tokens(found[layer]) for layer in self.layers]

    @torch.no_grad()
    def patches(self, images: Tensor) -> list[Tensor]:
        """Return the tokens [B, N, D] of every layer without class and register tokens."""
        return [tokens[:, self._prefix :] for tokens in self.tokens(images)]

    def forward(self, images: Tensor, summaries: Sequence[Summary]) -> list[Tensor]:
        return self.summarised(images, summaries)

    @torch.no_grad()
    def pooled(self, images: Tensor, pooling: Pooling) -> list[Tensor]:
        """Return one vector [B, D] (twice as wide for class-token-and-mean) of every layer."""
        return self.vectors(images, [Feature((layer,), pooling) for layer in self.layers])

    @torch.no_grad()
    def vectors(self, images: Tensor, features: Sequence[Feature]) -> list[Tensor]:
        """Return the vectors [B, `width`] of features, all from one forward pass; their layers are among `layers`."""
        wanted = dict.fromkeys(each for feature in features for each in self.summaries(feature))
        found = dict(zip(wanted, self.summarised(images, list(wanted)), strict=True))
        return [torch.cat([found[each] for each in self.summaries(feature)], dim=1) for feature in features]

    @torch.no_grad()
    def summarised(self, images: Tensor, summaries: Sequence[Summary]) -> list[Tensor]:
        """Return the vectors [B, D] of summaries, all from one forward pass; their layers are among `layers`."""
        layers = {each.layer for each in summaries if each.kind != "own"}
        found = self.outputs(images, layers)
        tokens = {layer: self._family.tokens(found[layer]) for layer in layers}
        return [
            self._family.own_feature(found[OUTPUT]) if each.kind == "own" else self._summary(tokens[each.layer], each)
            for each in summaries
        ]

    def summaries(self, feature: Feature) -> list[Summary]:
        """Return what a feature is put together of."""
        if self._is_own(feature):
            return [Summary(OUTPUT, "own")]
        joined, found = len(feature.layers) > 1, []
        for layer in feature.layers:
            if self._with_token(feature.pooling):
                found.append(Summary(layer, "token", joined and layer != OUTPUT))
            last = layer == feature.layers[-1] or not self._with_token(feature.pooling)
            if self._with_mean(feature.pooling) and last:
                found.append(Summary(layer, "mean", joined and layer != OUTPUT))
        return found

    def every_summary(self) -> list[Summary]:
        """Return all summaries of `layers` that a feature may be put together of."""
        poolings: tuple[Pooling, ...] = get_args(Pooling)
        single = [Feature((layer,), pooling) for layer in self.layers for pooling in poolings]
        blocks = tuple(layer for layer in self.layers if layer != OUTPUT)
        joined = [Feature((layer, OUTPUT), pooling) for layer in blocks for pooling in poolings]
        return sorted({each for feature in (*single, *joined) for each in self.summaries(feature)})

    def every_patch(self) -> list[Summary]:
        """Return the patches of all `layers` as summaries; there are none of an encoder whose tokens are not known."""
        known = self._family.can(TOKENS)
        return [Summary(layer, "patches") for layer in self.layers] if known else []

    def _is_own(self, feature: Feature) -> bool:
        """Tell whether a feature is what the encoder's own head takes."""
        family = self._family
        if not feature.of_output:
            return False
        if not (self._has_class_token or family.pools_by_attention or family.mean_is_own):
            return True  # it has no other summary of an image
        return feature.pooling == "own" or (feature.pooling == "class-token" and family.pools_by_attention)

    def in_words(self, feature: Feature) -> str:
        """Return what a feature is, for the record."""
        where = layers_in_words(feature)
        if self._is_own(feature):
            how = " (an attention pool's)" if self._family.pools_by_attention else ""
            return f"{where}: what the encoder's own head takes{how}"
        parts = ["class token"] * self._with_token(feature.pooling) + ["mean of patches"] * self._with_mean(
            feature.pooling
        )
        return f"{where}: {' and '.join(parts)}"

    def summary_width(self, summary: Summary) -> int:
        """Return the width of a summary's vector."""
        if summary.kind == "own":
            return self._own_width
        tokens, width = self._sizes[self.layers.index(summary.layer)]
        return (tokens - self._prefix) * width if summary.kind == "patches" else width

    def _summary(self, tokens: Tensor, summary: Summary) -> Tensor:
        """Return the class token [B, D], the mean patch, or all patches [B, N * D] of a layer's tokens."""
        if summary.kind == "patches":
            return tokens[:, self._prefix :].flatten(1)
        found = self._as_output(tokens) if summary.normed else tokens
        after = self._family.norm_after_pooling
        with_norm = (summary.normed or summary.layer == OUTPUT) and _has_width(after, found)
        pooled = found[:, 0] if summary.kind == "token" else found[:, self._prefix :].mean(dim=1)
        return after(pooled) if with_norm and after is not None else pooled

    def _as_output(self, tokens: Tensor) -> Tensor:
        """Return a block's tokens after the norm that the encoder's own output has passed before pooling."""
        for norm in self._family.last_norms():
            if norm is not self._family.norm_after_pooling and _has_width(norm, tokens):
                tokens = norm(tokens)
        return tokens

    def width(self, feature: Feature) -> int:
        """Return the width of a feature's vector."""
        if self._is_own(feature):
            return self._own_width
        widths = dict(zip(self.layers, self.widths, strict=True))
        each = sum(widths[layer] for layer in feature.layers)
        both = self._with_token(feature.pooling) and self._with_mean(feature.pooling)
        return each + widths[feature.layers[-1]] * both

    @cached_property
    def _own_width(self) -> int:
        return int(self._family.own_feature(self.outputs(self._image)[OUTPUT]).shape[1])

    def _with_token(self, pooling: Pooling) -> bool:
        """Tell whether the class token is taken; of a block inside, `own` is what the head would take of the output."""
        return self._token_is_own if pooling == "own" else self._has_class_token and pooling != "mean"

    def _with_mean(self, pooling: Pooling) -> bool:
        return not self._token_is_own if pooling == "own" else not self._has_class_token or pooling != "class-token"


def layers_in_words(feature: Feature) -> str:
    """Return what a feature is taken from, in words."""
    if len(feature.layers) > 1:
        return f"last {len(feature.layers)} blocks"
    return "output" if feature.of_output else f"block {feature.layers[0]}"


def _has_width(norm: nn.Module | None, tokens: Tensor) -> TypeGuard[nn.Module]:
    """Tell whether there is a norm, and it takes tokens of this width; what has no width of its own takes any."""
    if norm is None or type(norm).__name__.endswith("2d"):  # of maps, not of tokens
        return False
    return getattr(norm, "normalized_shape", (tokens.shape[-1],)) == (tokens.shape[-1],)


def blocks_of(backbone: nn.Module) -> list[nn.Module]:
    """Return an encoder's blocks in order. Raises UserError for one whose blocks are not known."""
    family = family_of(backbone)
    family.require(TOKENS)
    return family.blocks()


def chosen_layers(layers: tuple[int, ...] | None, backbone: nn.Module) -> tuple[int, ...]:
    """Return the numbers of a recipe's layers, in order; None stands for the encoder's own output.

    Raises UserError for a block that the encoder does not have.
    """
    if layers is None:
        return (OUTPUT,)
    count = len(blocks_of(backbone))
    if max(layers) > count:
        raise UserError.about("layer", max(layers), f"at most {count}, the encoder's blocks", "choose another layer")
    return tuple(sorted(set(layers)))


def every_layer(backbone: nn.Module, wanted: Collection[int] = ()) -> tuple[int, ...]:
    """Return the numbers of all layers that features may be taken from: the OUTPUT, and the blocks that give tokens.

    Of blocks that may give anything, those of a person's own code, the `wanted` ones alone are among them.
    """
    family = family_of(backbone)
    known = family.can(TOKENS) and family.blocks_give_tokens
    return (OUTPUT, *(range(1, len(family.blocks()) + 1) if known else sorted({*wanted} - {OUTPUT})))


def last_blocks(count: int, backbone: nn.Module) -> tuple[int, ...]:
    """Return the numbers of the last `count` blocks, in order; the last block stands for itself as the OUTPUT.

    Raises UserError where the encoder has fewer.
    """
    every = len(blocks_of(backbone))
    if count > every:
        raise UserError.about("last_blocks", count, f"at most {every}, the encoder's blocks", "a smaller number")
    return (*range(every - count + 1, every), OUTPUT)
