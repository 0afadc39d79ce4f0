"""The attentive probe: a learned query pools the patch tokens of a frozen encoder, and a linear classifier follows.

Source: V-JEPA (Bardes et al. 2024, facebookresearch/jepa `attentive_pooler.py`): norm, cross-attention of one query,
an MLP with a residual, a linear layer. The pooling layer is timm's. V-JEPA adds the query itself to what it has pooled;
here the bias of the output projection takes the part of that constant.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from timm.layers import AttentionPoolLatent
from torch import Tensor, nn

from benchmarks.engine.optim import parameter_groups
from benchmarks.errors import UserError
from transfer.adapter import Transfer
from transfer.classification.classifier import ImageClassifying
from transfer.classification.recipe import AttentivePooling, AttentiveRecipe
from transfer.encoder.features import Feature, FrozenEncoder, blocks_of, chosen_layers, layers_in_words
from transfer.encoder.model import build_model


class AttentiveProbing(ImageClassifying[AttentiveRecipe]):
    """An attentive probe as a problem for the training loop."""

    model: AttentiveProbe

    def __init__(self, transfer: Transfer) -> None:
        super().__init__(transfer)
        recipe = self.recipe
        backbone, self.load_report, self.plan = build_model(recipe, self.source, self.seed)
        layers = chosen_layers(None if recipe.layer is None else (recipe.layer,), backbone)
        frozen = FrozenEncoder(backbone, layers, recipe.image_size_px, self.plan.architecture.in_chans)
        self.model = AttentiveProbe(frozen, recipe, self.classes).to(self.device)
        self.feature = f"{layers_in_words(Feature(layers, 'mean'))}: all patches, pooled by the probe's own attention"

    def blocks(self, model: nn.Module) -> list[nn.Module]:  # noqa: ARG002 (there is one)
        return blocks_of(self.model.encoder.backbone)

    def groups(self) -> list[dict[str, Any]]:
        return parameter_groups(self.model, self.recipe.training.weight_decay)

    @property
    def state(self) -> nn.Module:
        """The probe without its encoder, which does not change."""
        return self.model.head


class AttentiveProbe(nn.Module):
    """A frozen encoder, attention pooling of its patch tokens, and a linear classifier."""

    def __init__(self, encoder: FrozenEncoder, recipe: AttentivePooling, classes: int) -> None:
        super().__init__()
        (width,) = encoder.widths
        if width % recipe.heads:
            rule = f"a divisor of the width of the encoder's tokens ({width})"
            raise UserError.about("heads", recipe.heads, rule, "set heads=N")
        self.encoder = encoder
        pool = AttentionPoolLatent(
            width, num_heads=recipe.heads, mlp_ratio=recipe.mlp_ratio, norm_layer=nn.LayerNorm, pool_type="token"
        )
        self.head = nn.Sequential(nn.LayerNorm(width), pool, nn.Linear(width, classes))
        for module in self.head.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=recipe.init_std)
                nn.init.zeros_(module.bias)
        nn.init.trunc_normal_(pool.latent, std=recipe.init_std)
        with torch.no_grad():  # as V-JEPA does in the first block of a pooler
            pool.proj.weight.div_(math.sqrt(2))
            pool.mlp.fc2.weight.div_(math.sqrt(2))

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [B, classes]."""
        (tokens,) = self.encoder.patches(images)
        logits: Tensor = self.head(tokens.float())
        return logits
