"""`mimbench.transfer`: one encoder on one task, trained and measured; the verb `transfer` is made of the same."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks import plugins, ranks
from benchmarks.catalogue.starts import authors_recipe, default_recipe, misfit_in_words
from benchmarks.catalogue.task import Task
from benchmarks.catalogue.tasks import find_task
from benchmarks.config import Recipe, load_recipe
from benchmarks.encoders import InitStage, TrainedStage, misfit
from benchmarks.errors import UserError
from benchmarks.text.progress import shown
from benchmarks.verbs.command import RUNS, Placing, command_line
from benchmarks.verbs.overrides import Overrides, override_texts, path_text
from benchmarks.verbs.result import RunResult
from benchmarks.verbs.statement import EncoderStatement
from transfer.adapter import Adapter, adapter_for
from transfer.api.claimed import claim_transfer
from transfer.encoder.sizes import given_by
from transfer.sources.references import random_architecture, resolve
from transfer.sources.source import Source


def transfer(
    task: str,
    encoder: str | Path,
    *,
    recipe: str | Path | None = None,
    data: str | Path | None = None,
    overrides: Overrides = (),
    seed: int = 0,
    runs: str | Path = RUNS,
    label: str | None = None,
    stage: TrainedStage | None = None,
    architecture: str | None = None,
    epoch: int | None = None,
    pretrained_on: str | None = None,
    weights: str | None = None,
    prefix: str | None = None,
    allow_implausible_weights: bool = False,
    config: str | Path | None = None,
    progress: bool = True,
) -> RunResult:
    """Fine-tune or probe an encoder on a task, evaluate it, and return the completed run.

    The arguments are the options of `mimbench transfer`: `task` is a task of the catalogue, `encoder` a run, an export,
    a checkpoint file, `timm:NAME`, `hf-hub:NAME`, `random:NAME` or `python:MODULE:FACTORY`; `data` is the recipe's
    `data.root`, and `overrides` set any field of the recipe. The same call again continues an unfinished run from its
    last checkpoint, and returns a finished one at once. Ctrl-C saves the state and raises Stopped. Without `progress`
    nothing is printed: what would have been is the result's `messages`.

    Raises UserError for what is asked for wrongly, and WorkFailed where the work cannot be finished, as where less than
    the whole encoder comes from its checkpoint.
    """
    asked = AskedTransfer(
        task,
        path_text("encoder", encoder),
        recipe=None if recipe is None else str(recipe),
        overrides=override_texts(overrides, data),
        placing=Placing(seed, Path(path_text("runs", runs)), label=label),
        said=EncoderStatement(
            stage=stage,
            architecture=architecture,
            epoch=epoch,
            pretrained_on=pretrained_on,
            weights=weights,
            prefix=prefix,
            allow_implausible_weights=allow_implausible_weights,
        ),
        config=None if config is None else Path(config),
    )
    with shown(progress) as kept:
        result = asked.run()
    return replace(result, messages=kept.getvalue())


@dataclass(frozen=True)
class AskedTransfer:
    """A transfer as a person asks for it; the fields are the options of `mimbench transfer`."""

    task: str
    encoder: str | None
    recipe: str | None
    overrides: tuple[str, ...]
    placing: Placing
    said: EncoderStatement = EncoderStatement()
    config: Path | None = None

    @property
    def command(self) -> tuple[str, ...]:
        """The command that asks for the same."""
        named = {"encoder": self.encoder, "recipe": self.recipe, "config": self.config}
        options = {**named, **self.said.options, "label": self.placing.label}
        return command_line("transfer", [self.task], options, self.overrides, self.placing)

    def recipe_of(self, task: Task, adapter: Adapter) -> Recipe[Any]:
        """Return the recipe that is named, or else the task's own for what starts. Raises UserError for none."""
        named = self.recipe or default_recipe(task, random_architecture(self.encoder or ""))
        overrides = [*self.overrides, *_config_override(task, adapter, self.config)]
        return load_recipe(adapter.recipe, "transfer", named, overrides)

    def source(self) -> Source:
        """Return the encoder. Raises what `resolve` raises, and UserError where none is named."""
        if self.encoder is None:
            remedy = "add --encoder runs/RUN_ID, a checkpoint's path, timm:NAME, hf-hub:NAME or random:NAME"
            raise UserError.about("--encoder", "(not given)", "what the transfer starts from", remedy)
        return resolve(self.encoder, self.said, self.placing.label)

    def run(self) -> RunResult:
        """Train and evaluate, unless that is done already; return the run."""
        plugins.begin()
        task = find_task(self.task)
        adapter = adapter_for(task)
        if self.encoder is None:
            self.source()
        recipe = self.recipe_of(task, adapter)
        source = self.source()
        claimed = claim_transfer(self.command, self.placing, task, adapter, recipe, source)
        if isinstance(claimed, RunResult):
            return claimed
        self.warn_of_misfit(task, recipe, source.use.init_stage)
        self.name_authors_recipe(task, source)
        for note in source.notes(given_by(recipe.config)) if ranks.is_main() else ():
            print(f"note: {note}", file=sys.stderr)
        return RunResult(claimed.work.folder.path, adapter.run(claimed))

    def warn_of_misfit(self, task: Task, recipe: Recipe[Any], stage: InitStage) -> None:
        """Say on stderr where the recipe is for encoders of other stages."""
        mark = misfit(recipe.config.starts_from, stage)
        if mark is not None and self.encoder is not None and ranks.is_main():
            random = random_architecture(self.encoder)
            print(f"warning: {misfit_in_words(task, recipe.name, self.encoder, mark, random)}", file=sys.stderr)

    def name_authors_recipe(self, task: Task, source: Source) -> None:
        """Say on stderr which recipe the encoder's authors fine-tune it by, where no recipe was asked for."""
        use = source.use
        own = authors_recipe(task, use.method, use.init_stage, use.architecture)
        if self.recipe is None and own is not None and ranks.is_main():
            by = f"the authors of {use.label} ({use.method}) fine-tune it by --recipe {own}"
            print(f"note: {by}; the default is {task.recipe}, the same for all encoders", file=sys.stderr)


def _config_override(task: Task, adapter: Adapter, config: Path | None) -> list[str]:
    """Return `--config` as overrides of the recipe. Raises UserError where the task's engine has no config files."""
    if config is None:
        return []
    if adapter.config_field is None:
        rule = f"for tasks whose engine has config files ({task.name} has none)"
        raise UserError.about("--config", str(config), rule, "leave it out; `key=value` sets any field of the recipe")
    return [f"{adapter.config_field}={json.dumps(str(config.resolve()))}"]
