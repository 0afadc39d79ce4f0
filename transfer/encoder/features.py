"""Features of a frozen encoder, taken from its output or from the blocks inside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeGuard

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


class FrozenEncoder(nn.Module):
    """A timm model without a head that never changes: it has no gradients and stays in evaluation mode.

    Its `layers` are OUTPUT or numbers of blocks, counted through all stages of a Swin.
    """

    def __init__(self, backbone: nn.Module, layers: tuple[int, ...], image_size_px: int, channels: int) -> None:
        super().__init__()
        self.backbone: Any = backbone.requires_grad_(False)
        self.layers = layers
        self._found: dict[int, Tensor] = {}
        self._family = family_of(backbone)
        self._prefix, self._has_class_token = self._family.prefix_tokens, self._family.has_class_token
        self._token_is_own = self._has_class_token and self._family.takes_class_token
        for number, block in enumerate(blocks_of(backbone) if layers != (OUTPUT,) else (), start=1):
            if number in layers:
                block.register_forward_hook(self._keep(number))
        self.eval()
        self._image = torch.zeros(1, channels, image_size_px, image_size_px, device=next(backbone.parameters()).device)

    def _keep(self, number: int) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            self._found[number] = output

        return hook

    def train(self, mode: bool = True) -> FrozenEncoder:  # noqa: ARG002 (nn.Module's signature)
        """Stay in evaluation mode."""
        return super().train(False)

    @cached_property
    def widths(self) -> list[int]:
        """The width of the tokens of each layer. Raises UserError where an output is no tokens."""
        return [int(tokens.shape[2]) for tokens in self.tokens(self._image)]

    @torch.no_grad()
    def outputs(self, images: Tensor) -> dict[int, Any]:
        """Return what every layer gives, as it gives it; the encoder's own output is always among it."""
        self._found.clear()
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

    def forward(self, images: Tensor, pooling: Pooling) -> list[Tensor]:
        return self.pooled(images, pooling)

    @torch.no_grad()
    def pooled(self, images: Tensor, pooling: Pooling) -> list[Tensor]:
        """Return one vector [B, D] (twice as wide for class-token-and-mean) of every layer."""
        return self.vectors(images, [Feature((layer,), pooling) for layer in self.layers])

    @torch.no_grad()
    def vectors(self, images: Tensor, features: Sequence[Feature]) -> list[Tensor]:
        """Return the vectors [B, `width`] of features, all from one forward pass; their layers are among `layers`."""
        found = self.outputs(images)
        return [torch.cat(list(self._parts(found, feature)), dim=1) for feature in features]

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

    def _parts(self, found: Mapping[int, Any], feature: Feature) -> Iterator[Tensor]:
        if self._is_own(feature):
            yield self._family.own_feature(found[OUTPUT])
            return
        tokens = {layer: self._family.tokens(found[layer]) for layer in feature.layers}
        yield from self._pooled_tokens(tokens, feature)

    def _pooled_tokens(self, tokens: Mapping[int, Tensor], feature: Feature) -> Iterator[Tensor]:
        after = self._family.norm_after_pooling
        joined = len(feature.layers) > 1
        for layer in feature.layers:
            found = self._as_output(tokens[layer]) if joined and layer != OUTPUT else tokens[layer]
            norm = after if (joined or layer == OUTPUT) and _has_width(after, found) else nn.Identity()
            if self._with_token(feature.pooling):
                yield norm(found[:, 0])
            if self._with_mean(feature.pooling) and (
                layer == feature.layers[-1] or not self._with_token(feature.pooling)
            ):
                yield norm(found[:, self._prefix :].mean(dim=1))

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


def last_blocks(count: int, backbone: nn.Module) -> tuple[int, ...]:
    """Return the numbers of the last `count` blocks, in order; the last block stands for itself as the OUTPUT.

    Raises UserError where the encoder has fewer.
    """
    every = len(blocks_of(backbone))
    if count > every:
        raise UserError.about("last_blocks", count, f"at most {every}, the encoder's blocks", "a smaller number")
    return (*range(every - count + 1, every), OUTPUT)
