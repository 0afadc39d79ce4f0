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
from torch.nn import functional

from benchmarks import ranks
from benchmarks.engine.loop import Loop
from benchmarks.engine.optim import parameter_groups
from benchmarks.engine.run import Outcome
from benchmarks.engine.samples.images import Batch
from benchmarks.engine.samples.loaders import EvaluationSamples, Samples
from benchmarks.errors import UserError
from benchmarks.runs.folder import Run, RunFolder
from transfer.adapter import Transfer
from transfer.classification.classifier import ImageClassifying
from transfer.classification.frozen.extraction import FeatureStore
from transfer.classification.grid import COLUMNS, HeldOut, Member, bounded, members_of
from transfer.classification.recipe import LinearRecipe
from transfer.encoder.features import OUTPUT, FrozenEncoder, Summary, blocks_of, chosen_layers, every_layer
from transfer.encoder.model import build_model
from transfer.images.labelled import LabelledImages
from transfer.predictions.evaluation import RANKED, Evaluation, Predictions
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
        self.members = members_of(recipe, backbone)
        layers = tuple(sorted({layer for member in self.members for layer in member.feature.layers}))
        kept = every_layer(backbone, layers) if recipe.keeps_features else layers
        frozen = FrozenEncoder(backbone, kept, recipe.image_size_px, self.plan.architecture.in_chans)
        self.model = LinearProbe(frozen, self.members, recipe, self.classes)
        self._store = self._feature_store(transfer) if recipe.keeps_features else None
        self.model.to(self.device)
        self._layers = layers
        self._measured_on: dict[int, EvaluationSamples[Batch]] = {}
        (scored,) = chosen_layers((recipe.score_layer,), backbone) if recipe.score_layer else layers[-1:]
        self._scored = layers.index(scored) if recipe.grid is None else 0
        self.feature = frozen.in_words(self.members[self._scored].feature)
        self._held_out: HeldOut | None = None
        """The latest choice from the grid."""

    def _feature_store(self, transfer: Transfer) -> FeatureStore:
        """Return what gives images' features once, of a recipe by which no image is seen in two ways."""
        encoder, training = self.model.encoder, self.recipe.training
        return FeatureStore(transfer, self.plan, encoder, self.device, training, self.unreadable, self.model)

    def training_samples(self) -> Samples[Batch]:
        if self._store is None:
            return super().training_samples()
        return self._store.samples(self.data.train, self.model.joined, "training images", replace=True)

    def evaluation_samples(self, images: LabelledImages) -> EvaluationSamples[Batch]:
        if self._store is None:
            return super().evaluation_samples(images)
        if id(images) not in self._measured_on:  # of the data, which live as long as the problem
            title = "held-out images" if images is self.data.held_out else "test images"
            self._measured_on[id(images)] = self._store.samples(images, self.model.joined, title)
        return self._measured_on[id(images)]

    def blocks(self, model: nn.Module) -> list[nn.Module]:  # noqa: ARG002 (there is one)
        return blocks_of(self.model.encoder.backbone)

    def groups(self) -> list[dict[str, Any]]:
        return self.model.groups(self.recipe)

    @property
    def state(self) -> nn.Module:
        """The classifiers without their encoder, which does not change."""
        return self.model.heads

    def outputs(self, images: Tensor) -> list[Tensor]:
        found: list[Tensor] = self.model(images)
        return found if self.recipe.grid is None else [bounded(logits) for logits in found]

    def measure(self, test: LabelledImages | None = None) -> Evaluation:
        """Evaluate on the test set, or on a further one; a grid's member is chosen first, by held-out images alone."""
        if self.recipe.grid is not None and (test is None or self._held_out is None):
            self._held_out = self._choose()
            self._scored = self._held_out.chosen
            self.feature = self.model.encoder.in_words(self.members[self._scored].feature)
        return super().measure(test)

    def _choose(self) -> HeldOut:
        samples = self.evaluation_samples(self.data.held_out)

        def columns_of(batch: Batch) -> tuple[Tensor, Tensor]:
            every = self.model(batch.images)
            hits = [logits.argmax(dim=1) == batch.labels for logits in every]
            losses = [functional.cross_entropy(logits, batch.labels, reduction="none") for logits in every]
            return torch.stack(hits, dim=1).double().cpu(), torch.stack(losses, dim=1).double().cpu()

        hits, losses = (torch.cat(column) for column in zip(*self.walk(samples).results(columns_of), strict=True))
        # Sums of whole numbers, and of losses in a fixed order: the same choice for any number of processes.
        top1, loss = 100 * hits.mean(dim=0), losses.sort(dim=0).values.mean(dim=0)
        found = HeldOut(self.members, top1.tolist(), loss.tolist(), len(hits))
        found.require_finite()
        return found

    def scores(self, found: Evaluation) -> dict[str, float]:
        """Return what every classification returns and, of a grid, the chosen member's `held_out_top1`."""
        chosen = {} if self._held_out is None else {"held_out_top1": self._held_out.top1[self._scored]}
        return {**super().scores(found), **chosen}

    def finish(self, loop: Loop[Batch], run: Run) -> Outcome | None:
        outcome = super().finish(loop, run)
        if self._held_out is not None:
            run.update(choice=self._held_out.as_record())
        if self._store is not None:
            run.update(features=self._store.use)
        return outcome

    def predict(self, batch: Batch) -> Predictions:
        every = self.model(batch.images)
        if self.recipe.grid is not None:
            return Predictions(every[self._scored])  # no other member ever has a score on the test set
        ranked = [logits.topk(min(RANKED, self.classes), dim=1).indices for logits in every]
        return Predictions(every[self._scored], torch.stack(ranked, dim=1))

    def write_results(self, folder: RunFolder) -> None:
        """Write the score of every layer too, the best of them marked as chosen on the test set; or a grid's choice."""
        super().write_results(folder)
        if self._held_out is not None:
            write_csv(folder.grid, COLUMNS, self._held_out.rows())
            return
        final = self.final()
        assert final.layers is not None
        hits = final.layers == final.labels[:, None, None]
        top1 = (100 * hits[:, :, 0].double().mean(dim=0)).tolist()
        top5 = (100 * hits.any(dim=2).double().mean(dim=0)).tolist()
        rows = []
        for index, layer in enumerate(self._layers):
            marks = ["score of the run"] * (index == self._scored)
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
            schedule = training.schedule.model_copy(update={training.schedule.rate: rate})
            peak = schedule.peak_lr(training.batch_size)
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
