"""Fine-tuning: the whole encoder is trained, and exported in the end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from timm.utils import ModelEmaV3
from torch import nn

from benchmarks.engine.optim import parameter_groups
from benchmarks.errors import UserError
from benchmarks.families.table import family_of
from transfer.adapter import Transfer
from transfer.classification.classifier import ImageClassifying
from transfer.classification.recipe import FinetuneRecipe
from transfer.encoder.layer_decay import groups_by_layer
from transfer.encoder.model import build_model, require_training


class Finetuning(ImageClassifying[FinetuneRecipe]):
    """Fine-tuning as a problem for the training loop."""

    def __init__(self, transfer: Transfer) -> None:
        super().__init__(transfer)
        recipe = self.recipe
        self.model, self.load_report, self.plan = build_model(
            recipe,
            self.source,
            self.seed,
            num_classes=self.classes,
            drop_path_rate=recipe.drop_path_rate,
            bias_per_block=recipe.bias_per_block,
            norm_after_pooling=recipe.norm_after_pooling,
        )
        if recipe.head_init_std is not None:
            nn.init.trunc_normal_(self._classifier().weight, std=recipe.head_init_std)
        require_training(self.model, recipe)
        self.model.to(self.device)
        self._average = ModelEmaV3(self.model, recipe.ema_decay) if recipe.ema_decay is not None else None

    def _classifier(self) -> nn.Linear:
        """Return the last layer. Raises UserError for a head of another form."""
        found = cast(Any, self.model).get_classifier()
        if not isinstance(found, nn.Linear):
            rule = f"null for {type(self.model).__name__}, whose head is no linear layer"
            raise UserError.about("head_init_std", self.recipe.head_init_std, rule, "set head_init_std=null")
        return found

    def blocks(self, model: nn.Module) -> list[nn.Module]:
        return family_of(model).blocks()

    @property
    def models(self) -> Sequence[nn.Module]:
        return [self.model] if self._average is None else [self.model, self._average.module]

    def groups(self) -> list[dict[str, Any]]:
        recipe, decay = self.recipe, self.recipe.training.weight_decay
        if recipe.decay_everything:
            return parameter_groups(self.model, decay, decays=lambda *_: True)
        return groups_by_layer(self.model, family_of(self.model).layers, decay, recipe.layer_decay)

    def after_step(self, step: int) -> None:  # noqa: ARG002 (the loop's protocol)
        if self._average is not None:
            self._average.update(self.model)

    @property
    def state(self) -> nn.Module:
        """The weights and, where there is one, their moving average."""
        if self._average is None:
            return self.model
        return nn.ModuleDict({"model": self.model, "average": self._average.module})

    @property
    def evaluated(self) -> nn.Module:
        """The weights that are scored and exported: the moving average where there is one."""
        return self.model if self._average is None else self._average.module

    def trained_encoder(self) -> nn.Module:
        return self.evaluated
