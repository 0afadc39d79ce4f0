"""The attentive probe: a learned query pools the patch tokens of a frozen encoder, and a linear classifier follows.

Sources: V-JEPA (Bardes et al. 2024), facebookresearch/jepa `src/models/attentive_pooler.py` and `utils/modules.py` at
51c59d5; V-JEPA 2 (Assran et al. 2025), facebookresearch/vjepa2 `src/models/attentive_pooler.py` at c2963a4.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from timm.layers import AttentionPoolLatent, Mlp
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from benchmarks.engine.loop import Loop
from benchmarks.engine.optim import parameter_groups
from benchmarks.engine.run import Outcome
from benchmarks.engine.samples.images import Batch
from benchmarks.engine.samples.loaders import EvaluationSamples, Samples
from benchmarks.errors import UserError
from benchmarks.runs.folder import Run
from transfer.adapter import Transfer
from transfer.classification.classifier import ImageClassifying
from transfer.classification.frozen.extraction import EVERYTHING_BYTES, FeatureStore
from transfer.classification.recipe import AttentivePooling, AttentiveRecipe
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
from transfer.images.labelled import LabelledImages


class AttentiveProbing(ImageClassifying[AttentiveRecipe]):
    """An attentive probe as a problem for the training loop."""

    model: AttentiveProbe

    def __init__(self, transfer: Transfer) -> None:
        super().__init__(transfer)
        recipe = self.recipe
        backbone, self.load_report, self.plan = build_model(recipe, self.source, self.seed)
        layers = chosen_layers(None if recipe.layer is None else (recipe.layer,), backbone)
        frozen = FrozenEncoder(backbone, layers, recipe.image_size_px, self.plan.architecture.in_chans)
        self.model = AttentiveProbe(frozen, recipe, self.classes)
        self._patches = Summary(layers[0], "patches")
        self._store = self._feature_store(transfer, frozen)
        self.model.to(self.device)
        self._test: dict[int, EvaluationSamples[Batch]] = {}
        self.feature = f"{layers_in_words(Feature(layers, 'mean'))}: all patches, pooled by the probe's own attention"

    def _feature_store(self, transfer: Transfer, frozen: FrozenEncoder) -> FeatureStore | None:
        """Return what gives images' patches once; None where images change, or there are too many for memory."""
        recipe, images = self.recipe, len(self.data.train) + len(self.data.test)
        too_many = 4 * images * frozen.summary_width(self._patches) > EVERYTHING_BYTES
        if not recipe.keeps_features or recipe.training.sharded or too_many:
            return None
        channels = self.plan.architecture.in_chans
        layers = every_layer(frozen.backbone, frozen.layers)
        every = FrozenEncoder(frozen.backbone, layers, recipe.image_size_px, channels)
        return FeatureStore(transfer, self.plan, every, self.device, recipe.training, self.unreadable)

    def training_samples(self) -> Samples[Batch]:
        if self._store is None:
            return super().training_samples()
        return self._store.samples(self.data.train, [self._patches], "training images", replace=True)

    def evaluation_samples(self, images: LabelledImages) -> EvaluationSamples[Batch]:
        if self._store is None:
            return super().evaluation_samples(images)
        if id(images) not in self._test:  # of the data, which live as long as the problem
            self._test[id(images)] = self._store.samples(images, [self._patches], "test images")
        return self._test[id(images)]

    def finish(self, loop: Loop[Batch], run: Run) -> Outcome | None:
        outcome = super().finish(loop, run)
        if self._store is not None:
            run.update(features=self._store.use)
        return outcome

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
        heads = recipe.heads or own_heads(encoder)
        if width % heads:
            rule = f"a divisor of the width of the encoder's tokens ({width})"
            raise UserError.about("heads", heads, rule, "set heads=N")
        self.encoder = encoder
        classifier = nn.Linear(width, classes)
        if recipe.pooler == "v-jepa":
            self.head = nn.Sequential(QueryPooler(width, heads, recipe), classifier)
        else:
            self.head = _timm_head(width, heads, recipe, classifier)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [B, classes] of images [B, C, H, W], or of their patches, one after another [B, N * D]."""
        (width,) = self.encoder.widths
        given = images.ndim == 2
        tokens = images.reshape(len(images), -1, width) if given else self.encoder.patches(images)[0]
        logits: Tensor = self.head(tokens.float())
        return logits


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
