"""A finished or unfinished pretraining run with its head, opened again from its recipe and last checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.config import Recipe, load_recipe
from benchmarks.engine.checkpoint import Checkpoint, Checkpoints
from benchmarks.errors import UserError
from benchmarks.runs.folder import RunFolder, read_record, run_folder_of
from pretrain.method.simmim import Method, build_method
from pretrain.recipe import PretrainRecipe

RULE = "a run of `mimbench pretrain` with a checkpoint, which holds the encoder and its head"


@dataclass(frozen=True)
class Pretrained:
    """A run's model as its last checkpoint has it, after `step` steps."""

    folder: Path
    recipe: Recipe[PretrainRecipe]
    method: Method
    step: int

    @property
    def name(self) -> str:
        return self.folder.name


def open_pretrained(reference: Path, device: torch.device) -> Pretrained:
    """Open a run by its folder or by the `encoder` folder in it. Raises UserError where no checkpoint has its head."""
    folder, checkpoint = _last_checkpoint(reference)
    recipe = load_recipe(PretrainRecipe, "pretrain", str(folder.recipe))
    method = build_method(recipe.config, device)
    method.model.load_state_dict(checkpoint.part("model"))
    method.model.eval()
    return Pretrained(folder.path, recipe, method, checkpoint.step)


def method_weights(reference: str) -> dict[str, Tensor]:
    """Return encoder, mask token and head as a run's last checkpoint has them, by SimMIM's names.

    The run may be named by its announcement in a pipeline as well. Raises what `open_pretrained` raises.
    """
    return _last_checkpoint(run_folder_of(Path(reference)))[1].part("model")


def _last_checkpoint(reference: Path) -> tuple[RunFolder, Checkpoint]:
    given = reference.resolve()
    path = given if RunFolder(given).record.is_file() else given.parent
    record = read_record(path)
    if record is None or record.kind != "pretrain":
        remedy = "pass runs/RUN_ID; an encoder alone predicts no pixels"
        raise UserError.about("run", str(reference), RULE, remedy)
    folder = RunFolder(path)
    checkpoint = Checkpoints(folder.checkpoints).latest()
    if checkpoint is None:
        remedy = f"run it again: its {folder.checkpoints.name}/ was removed, and the exported encoder has no head"
        raise UserError.about("run", str(reference), RULE, remedy)
    return folder, checkpoint
