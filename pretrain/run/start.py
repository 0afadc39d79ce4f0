"""Where a pretraining begins: at an encoder that was trained before, with the proof of loading."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from benchmarks.encoders import Normalisation
from benchmarks.errors import UserError
from benchmarks.runs.record import LoadReport
from benchmarks.verbs.initial import InitialEncoder
from pretrain.method.simmim import SimMIM
from pretrain.recipe import PretrainRecipe
from pretrain.run.pretrained import method_weights


@dataclass(frozen=True)
class Start:
    """An encoder to continue from, with the rest of its pretraining's model where a person asks for that."""

    encoder: InitialEncoder
    with_head: bool = False

    def load(self, model: SimMIM, recipe: PretrainRecipe) -> LoadReport:
        """Copy the weights into a model on any device; return the proof, with notes on what was not copied."""
        report = self.encoder.load(model.encoder.backbone)
        notes = [*report.notes, *_other_normalisation(self.encoder.normalisation, recipe)]
        if self.with_head:
            _load_rest(model, self.encoder.use.reference)
            notes.append("the mask token and the head are those of the earlier pretraining's last checkpoint")
        else:
            notes.append("the mask token and the head start from random weights")
        return report.model_copy(update={"notes": tuple(notes)})


def _load_rest(model: nn.Module, reference: str) -> None:
    """Copy mask token and head of a pretraining's run. Raises UserError unless each tensor has its counterpart."""
    rest = {name: tensor for name, tensor in method_weights(reference).items() if _is_rest(name)}
    own = {name: tensor for name, tensor in model.state_dict().items() if _is_rest(name)}
    for name in sorted({*rest, *own}):
        ours, theirs = (list(found[name].shape) if name in found else "no such tensor" for found in (own, rest))
        if ours != theirs:
            rule = f"a run whose head is the recipe's ({name}: {ours})"
            remedy = "leave --with-head out, or set the recipe's head, target and patch size to that run's"
            raise UserError.about("--with-head", f"{reference} ({name}: {theirs})", rule, remedy)
    model.load_state_dict(rest, strict=False)  # compared above; the encoder has its weights already


def _is_rest(name: str) -> bool:
    return not name.startswith("encoder.backbone.")


def _other_normalisation(theirs: Normalisation, recipe: PretrainRecipe) -> list[str]:
    ours = Normalisation(recipe.data.mean, recipe.data.std)
    if theirs == ours:
        return []
    before, now = (f"mean {list(each.mean)}, std {list(each.std)}" for each in (theirs, ours))
    return [f"the initial encoder was trained on images of {before}; here they are of {now}"]
