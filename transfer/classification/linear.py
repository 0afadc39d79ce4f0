"""The linear probe: classifiers on the features of a frozen encoder.

One classifier on the encoder's own output is MAE's protocol (He et al. 2021), one on a layer inside is SimMIM's (Xie et
al. 2021), and one on every layer, all trained at once, is BEiT's (Bao et al. 2021).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from benchmarks import ranks
from benchmarks.engine.optim import parameter_groups
from benchmarks.engine.samples.images import Batch
from benchmarks.errors import UserError
from benchmarks.runs.folder import RunFolder
from transfer.adapter import Transfer
from transfer.classification.classifier import ImageClassifying
from transfer.classification.recipe import LinearRecipe
from transfer.encoder.features import OUTPUT, FrozenEncoder, blocks_of, chosen_layers
from transfer.encoder.model import build_model
from transfer.predictions.evaluation import RANKED, Predictions
from transfer.scores import write_csv

BATCH_NORM_EPS = 1e-6  # MAE's


class LinearProbing(ImageClassifying[LinearRecipe]):
    """Classifiers on frozen features as a problem for the training loop."""

    model: LinearProbe

    def __init__(self, transfer: Transfer) -> None:
        super().__init__(transfer)
        recipe = self.recipe
        _check_batch_norm(recipe)
        backbone, self.load_report, self.plan = build_model(recipe, self.source, self.seed)
        every = tuple(range(1, len(blocks_of(backbone)) + 1))
        layers = chosen_layers(every if recipe.all_layers else recipe.layers, backbone)
        frozen = FrozenEncoder(backbone, layers, recipe.image_size_px, self.plan.architecture.in_chans)
        self.model = LinearProbe(frozen, recipe, self.classes).to(self.device)
        (scored,) = chosen_layers((recipe.score_layer,), backbone) if recipe.score_layer else layers[-1:]
        self._scored = layers.index(scored)

    def blocks(self, model: nn.Module) -> list[nn.Module]:  # noqa: ARG002 (there is one)
        return blocks_of(self.model.encoder.backbone)

    def groups(self) -> list[dict[str, Any]]:
        return parameter_groups(self.model, self.recipe.training.weight_decay)

    @property
    def state(self) -> nn.Module:
        """The classifiers without their encoder, which does not change."""
        return self.model.heads

    def outputs(self, images: Tensor) -> list[Tensor]:
        found: list[Tensor] = self.model(images)
        return found

    def predict(self, batch: Batch) -> Predictions:
        every = self.model(batch.images)
        ranked = [logits.topk(min(RANKED, self.classes), dim=1).indices for logits in every]
        return Predictions(every[self._scored], torch.stack(ranked, dim=1))

    def write_results(self, folder: RunFolder) -> None:
        """Write the score of every layer too. The best of them is marked as chosen on the test set."""
        super().write_results(folder)
        final = self.final()
        assert final.layers is not None
        hits = final.layers == final.labels[:, None, None]
        top1 = (100 * hits[:, :, 0].double().mean(dim=0)).tolist()
        top5 = (100 * hits.any(dim=2).double().mean(dim=0)).tolist()
        rows = []
        for index, layer in enumerate(self.model.encoder.layers):
            marks = ["score of the run"] * (index == self._scored)
            marks += ["best, chosen on the test set"] * (len(top1) > 1 and top1[index] == max(top1))
            name = "output" if layer == OUTPUT else layer
            rows.append((name, f"{top1[index]:.4f}", f"{top5[index]:.4f}", "; ".join(marks)))
        write_csv(folder.layers, ("layer", "top1", "top5", "note"), rows)


class LinearProbe(nn.Module):
    """A frozen encoder with a linear classifier for each of its layers."""

    def __init__(self, encoder: FrozenEncoder, recipe: LinearRecipe, classes: int) -> None:
        super().__init__()
        self.encoder, self._pooling = encoder, recipe.pooling
        widths = encoder.pooled_widths(recipe.pooling)
        self.heads = nn.ModuleList(_head(width, classes, recipe) for width in widths)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the logits [B, classes] of every layer."""
        features = self.encoder.pooled(images, self._pooling)
        with torch.autocast(images.device.type, enabled=False):  # the classifiers are cheap: fp32, whatever the recipe
            return [head(feature.float()) for head, feature in zip(self.heads, features, strict=True)]


def _check_batch_norm(recipe: LinearRecipe) -> None:
    """Raise UserError where BN would see one image."""
    training = recipe.training
    if recipe.batch_norm and training.batch_size == ranks.world_size() * training.accumulate:
        rule = "at least 2 images per process and pass with batch_norm"
        raise UserError.about(
            "training.batch_size", training.batch_size, rule, "a larger batch, or a smaller accumulate"
        )


def _head(width: int, classes: int, recipe: LinearRecipe) -> nn.Module:
    linear = nn.Linear(width, classes)
    nn.init.trunc_normal_(linear.weight, std=recipe.init_std)
    nn.init.zeros_(linear.bias)
    if not recipe.batch_norm:
        return linear
    return nn.Sequential(nn.BatchNorm1d(width, affine=False, eps=BATCH_NORM_EPS), linear)
