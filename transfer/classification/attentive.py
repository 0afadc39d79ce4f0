"""The attentive probe: a learned query pools the patch tokens of a frozen encoder, and a linear classifier follows.

Sources: V-JEPA (Bardes et al. 2024), facebookresearch/jepa `src/models/attentive_pooler.py` and `utils/modules.py` at
51c59d5; V-JEPA 2 (Assran et al. 2025), facebookresearch/vjepa2 `src/models/attentive_pooler.py` at c2963a4.
"""

from __future__ import annotations

import math
from copy import deepcopy
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from timm.layers import AttentionPoolLatent, Mlp
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from benchmarks.engine.optim import decays, parameter_groups
from benchmarks.engine.samples.images import Batch
from benchmarks.errors import UserError
from benchmarks.training.training import Training
from transfer.adapter import Transfer
from transfer.classification.frozen.extraction import EVERYTHING_BYTES, FeatureStore
from transfer.classification.frozen.recipe import AttentiveGrid, AttentivePooling, AttentiveRecipe
from transfer.classification.grid import peak_of
from transfer.classification.probing import Probing
from transfer.encoder.features import (
    OUTPUT,
    Feature,
    FrozenEncoder,
    Summary,
    blocks_of,
    chosen_layers,
    every_layer,
    layers_in_words,
)
from transfer.encoder.model import build_model
from transfer.predictions.evaluation import Predictions
from transfer.predictions.held_out import HELD_OUT_COLUMNS

COLUMNS = ("learning_rate", "weight_decay", *HELD_OUT_COLUMNS)
"""Of grid.csv."""


@dataclass(frozen=True)
class AttentiveMember:
    """One probe of a grid."""

    learning_rate: float
    """Its `base_lr` or `lr`."""
    weight_decay: float

    @property
    def words(self) -> str:
        """What it is, in words."""
        return f"learning rate {self.learning_rate:g}, weight decay {self.weight_decay:g}"

    @property
    def cells(self) -> tuple[str, ...]:
        """What distinguishes it, as COLUMNS begins."""
        return f"{self.learning_rate:g}", f"{self.weight_decay:g}"


def members_of(grid: AttentiveGrid | None) -> list[AttentiveMember]:
    """Return the probes of a grid; none without one."""
    return [] if grid is None else [AttentiveMember(*each) for each in product(grid.learning_rates, grid.weight_decays)]


class AttentiveProbing(Probing[AttentiveRecipe]):
    """An attentive probe, or a grid of them, as a problem for the training loop."""

    model: AttentiveProbe
    columns = COLUMNS

    def __init__(self, transfer: Transfer) -> None:
        super().__init__(transfer)
        recipe = self.recipe
        backbone, self.load_report, self.plan = build_model(recipe, self.source, self.seed)
        layers = chosen_layers(None if recipe.layer is None else (recipe.layer,), backbone)
        self.encoder = FrozenEncoder(backbone, layers, recipe.image_size_px, self.plan.architecture.in_chans)
        self.model, self.members = AttentiveProbe(self.encoder, recipe, self.classes), members_of(recipe.grid)
        self.taken = [Summary(layers[0], "patches")]
        self.store = self._feature_store(transfer)
        self.model.to(self.device)
        self.feature = f"{layers_in_words(Feature(layers, 'mean'))}: all patches, pooled by the probe's own attention"

    def _feature_store(self, transfer: Transfer) -> FeatureStore | None:
        """Return what gives images' patches once; None where images change, or there are too many for memory."""
        recipe, data, frozen = self.recipe, self.data, self.encoder
        images = len(data.train) + len(data.test) + len(data.held_out or ())
        too_many = 4 * images * frozen.summary_width(*self.taken) > EVERYTHING_BYTES
        if not recipe.keeps_features or recipe.training.sharded or too_many:
            return None
        channels = self.plan.architecture.in_chans
        layers = every_layer(frozen.backbone, frozen.layers)
        every = FrozenEncoder(frozen.backbone, layers, recipe.image_size_px, channels)
        return FeatureStore(transfer, self.plan, every, self.device, recipe.training, self.unreadable)

    def predict(self, batch: Batch) -> Predictions:
        return Predictions(self.model(batch.images)[self.scored])

    def groups(self) -> list[dict[str, Any]]:
        return self.model.groups(self.recipe.grid, self.recipe.training)

    @property
    def state(self) -> nn.Module:
        """The probe without its encoder, which does not change."""
        return self.model.head


class AttentiveProbe(nn.Module):
    """A frozen encoder and, once or for each probe of a grid, attention pooling of its patch tokens and a linear
    classifier."""

    def __init__(self, encoder: FrozenEncoder, recipe: AttentivePooling, classes: int) -> None:
        super().__init__()
        (width,) = encoder.widths
        heads = recipe.heads or own_heads(encoder)
        if width % heads:
            rule = f"a divisor of the width of the encoder's tokens ({width})"
            raise UserError.about("heads", heads, rule, "set heads=N")
        self.encoder, self._members = encoder, members_of(recipe.grid)
        self.head: nn.Module = _head(width, heads, recipe, classes)
        if recipe.grid is not None:  # every probe begins alike, as it would alone: nothing is drawn after its weights
            self.head = nn.ModuleList([self.head, *(deepcopy(self.head) for _ in self._members[1:])])
            for parameter in self.head.parameters():
                parameter.register_hook(_finite)  # type: ignore[no-untyped-call]

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return every probe's logits [B, classes] of images [B, C, H, W], or of their patches, one after another
        [B, N * D]."""
        (width,) = self.encoder.widths
        given = images.ndim == 2
        tokens = (images.reshape(len(images), -1, width) if given else self.encoder.patches(images)[0]).float()
        return [head(tokens) for head in (self.head if isinstance(self.head, nn.ModuleList) else [self.head])]

    def groups(self, grid: AttentiveGrid | None, training: Training) -> list[dict[str, Any]]:
        """Return the parameter groups; each probe of a grid has the learning rate and the decay of its member."""
        if grid is None:
            return parameter_groups(self, training.weight_decay)
        assert isinstance(self.head, nn.ModuleList), "there is one for each member"
        decayed = _everything if grid.decay_everything else decays
        return [
            {**group, "lr": peak_of(training, member.learning_rate)}
            for member, head in zip(self._members, self.head, strict=True)
            for group in parameter_groups(head, member.weight_decay, decays=decayed)
        ]


def _finite(gradient: Tensor) -> Tensor:
    """Return a gradient with zeros for what is not finite: a probe that has diverged gets none, and stops no other."""
    return torch.nan_to_num(gradient, nan=0.0, posinf=0.0, neginf=0.0)


def _everything(name: str, parameter: Tensor) -> bool:  # noqa: ARG001 (as `decays`)
    return True


def _head(width: int, heads: int, recipe: AttentivePooling, classes: int) -> nn.Sequential:
    classifier = nn.Linear(width, classes)
    if recipe.pooler == "v-jepa":
        return nn.Sequential(QueryPooler(width, heads, recipe), classifier)
    return _timm_head(width, heads, recipe, classifier)


class QueryPooler(nn.Module):
    """A block of cross-attention in which one learned query attends to tokens, as in V-JEPA.

    Nothing projects what was attended to; it is added to the query itself. With `recipe.depth` above 1, as in V-JEPA 2,
    one block of self-attention less than that comes before it.
    """

    def __init__(self, width: int, heads: int, recipe: AttentivePooling) -> None:
        super().__init__()
        self.heads = heads
        self.blocks = nn.Sequential(
            *(
                Block(width, heads, recipe.mlp_ratio, qkv_bias=True, norm_layer=nn.LayerNorm)
                for _ in range(1, recipe.depth)
            )
        )
        self.query = nn.Parameter(torch.zeros(1, 1, width))
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.q, self.kv = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.mlp = Mlp(width, int(width * recipe.mlp_ratio))
        self._initialise(recipe.init_std)

    def _initialise(self, std: float) -> None:
        """Draw all weights anew; those that end a block's residual branch are smaller, the deeper the block is."""
        nn.init.trunc_normal_(self.query, std=std)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=std)
                nn.init.zeros_(module.bias)
        blocks: Any = self.blocks
        ends = [(block.attn.proj, block.mlp.fc2) for block in blocks]
        with torch.no_grad():
            for number, layers in enumerate(ends, start=1):
                for layer in layers:
                    layer.weight.div_(math.sqrt(2 * number))
            self.mlp.fc2.weight.div_(math.sqrt(2 * max(len(ends), 1)))

    def forward(self, tokens: Tensor) -> Tensor:
        """Return one vector [B, D] of tokens [B, N, D]."""
        tokens = self.norm1(self.blocks(tokens))
        query = self.query.expand(len(tokens), -1, -1)
        keys, values = self.kv(tokens).chunk(2, dim=2)
        parts = (each.unflatten(2, (self.heads, -1)).transpose(1, 2) for each in (self.q(query), keys, values))
        attended = scaled_dot_product_attention(*parts).transpose(1, 2).flatten(2)
        pooled = query + attended
        found: Tensor = (pooled + self.mlp(self.norm2(pooled)))[:, 0]
        return found


def own_heads(encoder: FrozenEncoder) -> int:
    """Return the number of heads in the block that tokens are taken from. Raises UserError where it has none."""
    (layer,) = encoder.layers
    blocks = blocks_of(encoder.backbone)
    block = blocks[-1] if layer == OUTPUT else blocks[layer - 1]
    for module in block.modules():
        if isinstance(heads := getattr(module, "num_heads", None), int):
            return heads
    rule = f"given for an encoder whose blocks ({type(block).__name__}) have no attention"
    raise UserError.about("heads", "null", rule, "set heads=N, a divisor of the width of its tokens")


def _timm_head(width: int, heads: int, recipe: AttentivePooling, classifier: nn.Linear) -> nn.Sequential:
    """Return the head of runs that were made before `pooler` was a field: timm's pooling, with a projection of what was
    attended to and without the query's residual."""
    pool = AttentionPoolLatent(
        width, num_heads=heads, mlp_ratio=recipe.mlp_ratio, norm_layer=nn.LayerNorm, pool_type="token"
    )
    head = nn.Sequential(nn.LayerNorm(width), pool, classifier)
    for module in head.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=recipe.init_std)
            nn.init.zeros_(module.bias)
    nn.init.trunc_normal_(pool.latent, std=recipe.init_std)
    with torch.no_grad():
        pool.proj.weight.div_(math.sqrt(2))
        pool.mlp.fc2.weight.div_(math.sqrt(2))
    return head
