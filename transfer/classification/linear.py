"""The linear probe: classifiers on the features of a frozen encoder.

One classifier on the encoder's own output is MAE's protocol (He et al. 2021), one on a layer inside is SimMIM's (Xie et
al. 2021), and one on every layer, all trained at once, is BEiT's (Bao et al. 2021). A grid of them, of which one is
chosen, is DINOv2's (Oquab et al. 2023); it chooses on its test set where no other is given.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks import ranks
from benchmarks.engine.optim import parameter_groups
from benchmarks.engine.samples.images import Batch
from benchmarks.errors import UserError
from benchmarks.runs.folder import RunFolder
from transfer.adapter import Transfer
from transfer.classification.frozen.extraction import FeatureStore
from transfer.classification.grid import COLUMNS, Member, members_of, peak_of
from transfer.classification.probing import Probing
from transfer.classification.recipe import LinearRecipe
from transfer.encoder.features import OUTPUT, FrozenEncoder, Summary, chosen_layers, every_layer
from transfer.encoder.model import build_model
from transfer.images.labelled import LabelledImages
from transfer.predictions.evaluation import RANKED, Evaluation, Predictions
from transfer.scores import write_csv

BATCH_NORM_EPS = 1e-6  # MAE's


class LinearProbing(Probing[LinearRecipe]):
    """Classifiers on frozen features as a problem for the training loop."""

    model: LinearProbe
    members: Sequence[Member]
    columns = COLUMNS

    def __init__(self, transfer: Transfer) -> None:
        super().__init__(transfer)
        recipe = self.recipe
        _check_batch_norm(recipe)
        backbone, self.load_report, self.plan = build_model(recipe, self.source, self.seed)
        self.members = members_of(recipe, backbone)
        self._layers = tuple(sorted({layer for member in self.members for layer in member.feature.layers}))
        kept = every_layer(backbone, self._layers) if recipe.keeps_features else self._layers
        self.encoder = FrozenEncoder(backbone, kept, recipe.image_size_px, self.plan.architecture.in_chans)
        self.model = LinearProbe(self.encoder, self.members, recipe, self.classes)
        self.taken = self.model.joined
        if recipe.keeps_features:  # no image is seen in two ways
            store = FeatureStore(
                transfer, self.plan, self.encoder, self.device, recipe.training, self.unreadable, self.model
            )
            self.store = store
        self.model.to(self.device)
        (scored,) = chosen_layers((recipe.score_layer,), backbone) if recipe.score_layer else self._layers[-1:]
        self.scored = self._layers.index(scored) if recipe.grid is None else 0
        self.feature = self.encoder.in_words(self.members[self.scored].feature)

    def groups(self) -> list[dict[str, Any]]:
        return self.model.groups(self.recipe)

    @property
    def state(self) -> nn.Module:
        """The classifiers without their encoder, which does not change."""
        return self.model.heads

    def measure(self, test: LabelledImages | None = None) -> Evaluation:
        found = super().measure(test)
        self.feature = self.encoder.in_words(self.members[self.scored].feature)
        return found

    def predict(self, batch: Batch) -> Predictions:
        every = self.model(batch.images)
        if self.recipe.grid is not None:
            return Predictions(every[self.scored])  # no other member ever has a score on the test set
        ranked = [logits.topk(min(RANKED, self.classes), dim=1).indices for logits in every]
        return Predictions(every[self.scored], torch.stack(ranked, dim=1))

    def write_results(self, folder: RunFolder) -> None:
        """Write the score of every layer too, the best of them marked as chosen on the test set; or a grid's choice."""
        super().write_results(folder)
        if self.recipe.grid is not None:
            return
        final = self.final()
        assert final.layers is not None
        hits = final.layers == final.labels[:, None, None]
        top1 = (100 * hits[:, :, 0].double().mean(dim=0)).tolist()
        top5 = (100 * hits.any(dim=2).double().mean(dim=0)).tolist()
        rows = []
        for index, layer in enumerate(self._layers):
            marks = ["score of the run"] * (index == self.scored)
            marks += ["best, chosen on the test set"] * (len(top1) > 1 and top1[index] == max(top1))
            name = "output" if layer == OUTPUT else layer
            rows.append((name, f"{top1[index]:.4f}", f"{top5[index]:.4f}", "; ".join(marks)))
        write_csv(folder.layers, ("layer", "top1", "top5", "note"), rows)


class LinearProbe(nn.Module):
    """A frozen encoder with linear classifiers on its features."""

    def __init__(self, encoder: FrozenEncoder, members: Sequence[Member], recipe: LinearRecipe, classes: int) -> None:
        super().__init__()
        self.encoder, self._members = encoder, members
        self.features = list(dict.fromkeys(member.feature for member in members))
        self.joined = [each for feature in self.features for each in encoder.summaries(feature)]
        """What a row of features has in the place of an image."""
        self._widths = [encoder.width(feature) for feature in self.features]
        self.heads = nn.ModuleList()
        start = torch.get_rng_state()
        for member in members:
            if recipe.grid is not None:
                torch.set_rng_state(start)  # so that every member begins as it would alone
            self.heads.append(_head(encoder.width(member.feature), classes, recipe))

    def groups(self, recipe: LinearRecipe) -> list[dict[str, Any]]:
        """Return the parameter groups; those of a grid have the learning rates of their members."""
        training = recipe.training
        if recipe.grid is None:
            return parameter_groups(self, training.weight_decay)
        by_rate: dict[float | None, list[nn.Module]] = defaultdict(list)
        for member, head in zip(self._members, self.heads, strict=True):
            by_rate[member.learning_rate].append(head)
        groups = []
        for rate, heads in by_rate.items():
            peak = peak_of(training, rate)
            groups += [{**group, "lr": peak} for group in parameter_groups(nn.ModuleList(heads), training.weight_decay)]
        return groups

    def forward(self, images: Tensor, summaries: Sequence[Summary] | None = None) -> list[Tensor]:
        """Return the logits [B, classes] of every classifier, for images [B, C, H, W] or their joined features [B, D].

        With `summaries`, return these of the images instead.
        """
        if summaries is not None:
            return self.encoder.summarised(images, summaries)
        given = images.ndim == 2
        found = torch.split(images, self._widths, dim=1) if given else self.encoder.vectors(images, self.features)
        with torch.autocast(images.device.type, enabled=False):  # the classifiers are cheap: fp32, whatever the recipe
            vectors = (vector.float().contiguous() for vector in found)  # a part of a row would be added up otherwise
            features = dict(zip(self.features, vectors, strict=True))
            return [head(features[each.feature]) for head, each in zip(self.heads, self._members, strict=True)]


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
