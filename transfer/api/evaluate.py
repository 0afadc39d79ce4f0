"""`mimbench.evaluate`: a trained model with its head on test sets; the verb `evaluate` is made of the same."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmarks import plugins, ranks
from benchmarks.catalogue.tasks import find_task
from benchmarks.config import Recipe, load_recipe, recipe_names
from benchmarks.encoders import TrainedStage
from benchmarks.errors import UserError
from benchmarks.runs.folder import read_record, run_folder_of
from benchmarks.runs.record import RunRecord
from benchmarks.text.progress import shown
from benchmarks.verbs.command import RUNS, Placing, command_line
from benchmarks.verbs.overrides import Overrides, override_texts, path_text
from benchmarks.verbs.result import RunResult
from benchmarks.verbs.statement import EncoderStatement
from transfer.adapter import Asked, Trained, adapter_for
from transfer.api.claimed import claim_transfer
from transfer.sources.references import scheme_of, trust_code


def evaluate(
    task: str,
    model: str | Path,
    *,
    data: str | Path | None = None,
    overrides: Overrides = (),
    name: str | None = None,
    encoder: str | Path | None = None,
    tolerance: float = 0.0,
    recipe: str | Path | None = None,
    stage: TrainedStage | None = None,
    architecture: str | None = None,
    config: str | Path | None = None,
    head_classes: str | None = None,
    weights: str | None = None,
    prefix: str | None = None,
    allow_implausible_weights: bool = False,
    label: str | None = None,
    seed: int = 0,
    runs: str | Path = RUNS,
    progress: bool = True,
) -> RunResult:
    """Score a trained model with its head on test sets, without training, and return the run that has the scores.

    The arguments are the options of `mimbench evaluate`. `model` is the folder of a finished run, to whose record the
    scores on further test sets are added, or a model of others: `timm:NAME`, `hf-hub:NAME`, a checkpoint file. Without
    `progress` nothing is printed: what would have been is the result's `messages`.

    Raises UserError for what is asked for wrongly, and WorkFailed where a finished run does not reproduce its own score
    within `tolerance` points.
    """
    asked = AskedEvaluation(
        task,
        path_text("model", model),
        overrides=override_texts(overrides, data),
        placing=Placing(seed, Path(path_text("runs", runs)), label=label),
        name=name,
        encoder=None if encoder is None else path_text("encoder", encoder),
        tolerance=tolerance,
        recipe=None if recipe is None else str(recipe),
        said=EncoderStatement(
            stage=stage,
            architecture=architecture,
            weights=weights,
            prefix=prefix,
            allow_implausible_weights=allow_implausible_weights,
        ),
        config=None if config is None else Path(config),
        head_classes=head_classes,
    )
    with shown(progress) as kept:
        result = asked.run()
    return replace(result, messages=kept.getvalue())


@dataclass(frozen=True)
class AskedEvaluation:
    """An evaluation as a person asks for it; the fields are the options of `mimbench evaluate`."""

    task: str
    model: str
    overrides: tuple[str, ...]
    placing: Placing
    name: str | None = None
    encoder: str | None = None
    tolerance: float = 0.0
    recipe: str | None = None
    said: EncoderStatement = EncoderStatement()
    """What a person says of a model of others."""
    config: Path | None = None
    head_classes: str | None = None

    @property
    def command(self) -> tuple[str, ...]:
        """The command that asks for the same."""
        named = {name: getattr(self, name) for name in ("model", "name", "encoder", "config", "head_classes", "recipe")}
        beside = {"label": self.placing.label, "tolerance": self.tolerance or None}
        options = {**named, **self.said.options, **beside}
        return command_line("evaluate", [self.task], options, self.overrides, self.placing)

    @cached_property
    def _folder(self) -> Path:
        return run_folder_of(Path(self.model))

    @property
    def of_a_run(self) -> bool:
        """Whether the model is that of a run. Raises UserError for a damaged record."""
        return read_record(self._folder) is not None

    def recipe_of_others(self) -> Recipe[Any] | None:
        """Return the recipe by which a model of others is scored; None for the model of a run, which has its own."""
        return None if self.of_a_run else self._recipe_and_model()[0]

    def run(self) -> RunResult:
        """Score the model, unless that is done already; return the run."""
        plugins.begin()
        record = read_record(self._folder)
        return self._others() if record is None else self._finished(record)

    def _recipe_and_model(self) -> tuple[Recipe[Any], Trained]:
        if scheme_of(self.model) is None and not Path(self.model).exists():
            rule = "a model with its head: a finished run, timm:NAME, hf-hub:NAME or a checkpoint file"
            raise UserError.about("--model", self.model, rule, "check the path")
        task = find_task(self.task)
        adapter = adapter_for(task)
        trained = adapter.trained(Asked(self.model, self.said, self.config, self.placing.label, self.head_classes))
        own = f"{task.name}_evaluate"
        named = self.recipe or (own if own in recipe_names("transfer") else trained.recipe)
        loaded = load_recipe(adapter.recipe, "transfer", named, [*trained.stated, *self.overrides])
        return replace(loaded, overrides=self.overrides), trained

    def _others(self) -> RunResult:
        task = find_task(self.task)
        adapter = adapter_for(task)
        recipe, trained = self._recipe_and_model()
        source = replace(trained.source, implausible_allowed=self.said.allow_implausible_weights)
        claimed = claim_transfer(self.command, self.placing, task, adapter, recipe, source)
        if isinstance(claimed, RunResult):
            return claimed
        for note in source.notes() if ranks.is_main() else ():
            print(f"note: {note}", file=sys.stderr)
        record = adapter.run(claimed)
        published = [
            f"published by {trained.stated_by} on ImageNet-1K: {name} {value:.3f}"
            for name, value in trained.published.items()
        ]
        return RunResult(claimed.work.folder.path, record, remark="\n".join(published))

    def _finished(self, record: RunRecord) -> RunResult:
        if self.said.architecture is not None:
            trust_code(self.said.architecture)
        from transfer.evaluate.finished import add_test_sets  # torch, only now that there is work
        from transfer.evaluate.rebuild import finished_run, read_own, read_wanted, require_classes

        task = find_task(self.task)
        adapter = adapter_for(task)
        run = finished_run(self.model, self._folder, record, task, adapter)
        own = read_own(run, self.overrides, self.name)
        problem = adapter.problem(own)
        if problem is None:
            rule = "a run that trained a head (nearest neighbours are found anew for every test set)"
            remedy = "transfer again with data.test_sets: nothing is trained"
            raise UserError.about("--model", self.model, rule, remedy)
        wanted = read_wanted(run, own, self.overrides, self.name)
        if not wanted and record.added_test_sets and self.overrides:
            return RunResult(self._folder, record, done_before=True)
        transfer = run.transfer(own, self.encoder, self.command, run.data(own))
        require_classes(run, transfer.data, wanted)
        return RunResult(self._folder, add_test_sets(transfer, record, problem, wanted, self.tolerance))
