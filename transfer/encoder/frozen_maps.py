"""Feature maps of an encoder that never changes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from benchmarks.errors import UserError
from benchmarks.families import timm_model
from benchmarks.families.table import family_of
from transfer.encoder.dense import Encoder


class FrozenDense(Encoder):
    """An encoder for feature maps without gradients, which stays in evaluation mode: its statistics do not change."""

    def __init__(self, encoder: Encoder) -> None:
        """Freeze what `encoder` wraps."""
        nn.Module.__init__(self)
        self.backbone = encoder.backbone.requires_grad_(False)
        self.channels, self.strides, self.sizes = encoder.channels, encoder.strides, encoder.sizes
        self.shift_single_windows, self.table_mode = encoder.shift_single_windows, encoder.table_mode
        self.eval()

    def train(self, mode: bool = True) -> FrozenDense:  # noqa: ARG002 (nn.Module's signature)
        """Stay in evaluation mode."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> list[Tensor]:
        return super().forward(images)

    features = forward


class FrozenMaps(nn.Module):
    """The last maps of a frozen encoder, as a linear layer takes them: without a pyramid or norms of their own.

    Of a plain transformer they are the patches of its last blocks, each after the encoder's last norm; images are
    padded with zeros on all four sides to whole patches. Source: facebookresearch/dinov2
    `notebooks/semantic_segmentation.ipynb` (CenterPadding, get_intermediate_layers). Of a hierarchical encoder they are
    the maps of its last stages, of which the last alone passes the encoder's last norm.
    """

    def __init__(
        self, encoder: Encoder, last: int, *, evenly: bool = False, normed: bool = True, class_token: bool = False
    ) -> None:
        """Take the `last` maps; `evenly`: those of as many of a plain transformer's blocks at equal distances.

        Without `normed`, none passes the encoder's last norm. With `class_token` every patch is joined with the class
        token of its block, where the encoder has one. Raises UserError for an encoder that has fewer maps.
        """
        super().__init__()
        self.encoder, self.last, self.evenly, self.normed = FrozenDense(encoder), last, evenly, normed
        self._family, self._found = family_of(encoder.backbone), dict[int, Tensor]()
        self.plain = len(encoder.strides) == 1 and len(timm_model.strides(encoder.backbone)) <= 1
        there = len(self._family.blocks()) if self.plain and last > 1 else len(encoder.strides)
        if last > there:
            rule = f"at most {there}, the encoder's {'blocks' if self.plain else 'maps'}"
            raise UserError.about("last_maps", last, rule, "a smaller number")
        self.with_token = class_token and self.plain and self._family.has_class_token
        channels = encoder.channels * last if self.plain else encoder.channels[-last:]
        self.channels = tuple(each * (2 if self.with_token else 1) for each in channels)
        blocks = self._family.blocks() if self.plain and (last > 1 or self.with_token) else []
        numbers = (spread if evenly else last_ones)(last, len(blocks)) if blocks else []
        for at, number in enumerate(numbers):
            if number != len(blocks) or self.with_token:
                blocks[number - 1].register_forward_hook(self._keep(at))

    def _keep(self, at: int) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            self._found[at] = self._family.tokens(output)

        return hook

    @property
    def in_words(self) -> str:
        """What is taken of the encoder, for the record."""
        of = "block" if self.plain else "stage"
        some = f"{self.last} {of}s at equal distances" if self.evenly and self.plain else f"last {self.last} {of}s"
        which = f"last {of}" if self.last == 1 else f"{some}, joined"
        token = ", each with the class token" if self.with_token else ""
        return f"{which}: all patches{token}{'' if self.normed else ', before the last norm'}"

    @torch.no_grad()
    def forward(self, images: Tensor) -> list[Tensor]:
        """Return maps [B, D, h, w] of images [B, 3, H, W], the deepest last."""
        self._found.clear()
        if self.plain:
            images = centred(images, self.encoder.strides[0])
        maps = self.encoder.features(images)[-self.last :]
        found = [self._found[at] for at in sorted(self._found)]
        self._found.clear()
        earlier = [self._normed(self._as_map(each, maps[-1])) for each in found[: self.last - 1]]
        maps = [*earlier, *maps[:-1], self._normed(maps[-1])]
        if not self.with_token:
            return maps
        tokens = [self._normed(each[:, 0, :, None, None]) for each in found]
        return [torch.cat([each, token.expand_as(each)], dim=1) for each, token in zip(maps, tokens, strict=True)]

    def _as_map(self, tokens: Tensor, like: Tensor) -> Tensor:
        """Return the patches among tokens [B, N, D] as a map of another one's size."""
        height, width = like.shape[2:]
        patches = tokens[:, self._family.prefix_tokens :]
        return patches.transpose(1, 2).reshape(len(tokens), -1, height, width)

    def _normed(self, found: Tensor) -> Tensor:
        """Return a map [B, D, h, w] after the norm that the encoder's own output has passed before pooling."""
        if not self.normed:
            return found
        width = (found.shape[1],)
        for norm in self._family.last_norms():
            fits = getattr(norm, "normalized_shape", width) == width and not type(norm).__name__.endswith("2d")
            if fits and norm is not self._family.norm_after_pooling:
                found = norm(found.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return found


def last_ones(count: int, blocks: int) -> list[int]:
    """Return the numbers of the last `count` of some blocks, counted from 1."""
    return list(range(blocks - count + 1, blocks + 1))


def spread(count: int, blocks: int) -> list[int]:
    """Return the numbers of `count` of some blocks at equal distances, up to the last, counted from 1.

    Of 24 blocks four are those that DINOv2 takes of a ViT-L, the first of which is one less than the rule would have.
    Source: facebookresearch/dinov2 `hub/depthers.py`.
    """
    if (count, blocks) == (4, 24):
        return [5, 12, 18, 24]
    return [at * blocks // count for at in range(1, count + 1)]


def centred(images: Tensor, step_px: int) -> Tensor:
    """Return images [B, C, H, W], padded with zeros on all four sides to multiples of `step_px`.

    Where the padding is odd, there is one pixel more below and on the right.
    """
    below, right = (-side % step_px for side in images.shape[2:])
    return pad(images, (right // 2, right - right // 2, below // 2, below - below // 2)) if below or right else images
