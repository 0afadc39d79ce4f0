"""Where the last block of a plain transformer attends: the weights that timm's own modules apply, mean over heads.

Source of the picture: DINO (Caron et al. 2021, facebookresearch/dino `visualize_attention.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
import torch
from PIL import Image
from timm.layers.attention import Attention, AttentionRope
from timm.models import beit, eva
from torch import Tensor, nn

from benchmarks.encoders import Normalisation
from benchmarks.errors import UserError
from benchmarks.families.parts import TOKENS
from benchmarks.families.table import family_of
from benchmarks.pictures.small import fit
from transfer.show.classes import PICTURE_PX
from transfer.show.shown import Bytes, Cell

KNOWN = (Attention, AttentionRope, beit.Attention, eva.EvaAttention)
"""The modules that apply their dropout to the weights right after the softmax, with relative positions, rotary ones and
norms of queries and keys already in them. Subclasses may do otherwise, so that only these themselves are taken."""


@dataclass(frozen=True)
class Attended:
    """Maps [B, h, w] of how much of the attention each patch gets; those of the class token sum up to at most 1."""

    maps: Tensor
    of_class_token: bool

    @property
    def in_words(self) -> str:
        """Whose attention it is."""
        where = (
            "the class token's, to each patch" if self.of_class_token else "what each patch gets from all on average"
        )
        return (
            f"Attention of the last block: {where}, mean over heads; "
            "below it, the shares of the darkest and of the lightest patch."
        )


@torch.no_grad()
def attention_of(backbone: Any, images: Tensor) -> Attended:
    """Return where a timm model's last block attends on images [B, C, H, W].

    It is the class token's attention where the model's own head takes that token, and else what each patch gets from
    all of them: a class token that no head takes may not have been trained. Raises UserError, with the reason, for a
    model whose last block is not known to attend among all patches.
    """
    family = family_of(backbone)
    module = _last_attention(backbone)
    rows, columns = getattr(getattr(backbone, "patch_embed", None), "grid_size", None) or (0, 0)
    found: list[Tensor] = []
    hook = module.attn_drop.register_forward_hook(lambda _module, _inputs, output: found.append(output))
    fused, module.fused_attn = module.fused_attn, False  # the fused kernel gives no weights
    try:
        backbone.forward_features(images)
    finally:
        module.fused_attn = fused
        hook.remove()
    prefix = family.prefix_tokens
    tokens = prefix + rows * columns
    if len(found) != 1 or found[0].shape[0] != len(images) or found[0].shape[2:] != (tokens, tokens):
        raise _refusal(backbone, "windows or another set of tokens")
    weights, of_token = found[0].float().mean(dim=1), family.has_class_token and family.takes_class_token
    maps = weights[:, 0, prefix:] if of_token else weights[:, prefix:, prefix:].mean(dim=1)
    return Attended(maps.reshape(len(images), rows, columns), of_token)


def _last_attention(backbone: nn.Module) -> Any:
    family = family_of(backbone)
    module = getattr(family.blocks()[-1], "attn", None) if family.can(TOKENS) else None
    if type(module) not in KNOWN:
        raise _refusal(backbone, "no attention" if module is None else type(module).__name__)
    return module


def _refusal(backbone: nn.Module, value: str) -> UserError:
    rule = "attention among all patches, as the blocks of ViT, DeiT, BEiT, DINO and EVA have it"
    remedy = "none is needed: its neighbours are shown without attention"
    return UserError.about(f"last block of {type(backbone).__name__}", value, rule, remedy)


def attention_cell(image: Tensor, attended: Tensor, normalisation: Normalisation) -> Cell:
    """Return a normalised image [C, H, W] as the encoder takes it, with a map [h, w] beside it."""
    shares = attended.cpu().numpy()
    least, most = float(shares.min()), float(shares.max())
    scaled = (shares - least) / max(most - least, 1e-12)
    colours = matplotlib.colormaps["inferno"](scaled, bytes=True)[..., :3]
    drawn = fit(Image.fromarray(np.ascontiguousarray(colours)), PICTURE_PX, exact=True)
    seen = Image.fromarray(_pixels(image, normalisation)).resize(drawn.size, Image.Resampling.BICUBIC)
    return Cell(
        f"{100 * least:.2f} to {100 * most:.2f} %", np.concatenate([np.asarray(seen), np.asarray(drawn)], axis=1)
    )


def _pixels(image: Tensor, normalisation: Normalisation) -> Bytes:
    mean, std = (torch.tensor(each).view(-1, 1, 1) for each in (normalisation.mean, normalisation.std))
    values = ((image.cpu().float() * std + mean).clamp(0, 1) * 255).round().to(torch.uint8)
    return values.expand(3, -1, -1).permute(1, 2, 0).contiguous().numpy()
