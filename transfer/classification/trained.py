"""One run of a protocol that trains: from an encoder to a score, whatever is trained."""

from __future__ import annotations

from typing import Any

from benchmarks import ranks
from benchmarks.engine.loop import Loop
from benchmarks.engine.processes.exchange import joined
from benchmarks.engine.samples.loaders import steps_per_epoch
from benchmarks.runs.folder import Run
from benchmarks.runs.record import RunRecord
from transfer.adapter import Transfer
from transfer.classification.problem import ClassificationProblem
from transfer.classification.recipe import TrainedRecipe
from transfer.classification.results import declared, further_scores, write_results
from transfer.run import open_transfer
from transfer.scores import metric_values


def train_classifier(transfer: Transfer, problem_type: type[ClassificationProblem[Any]]) -> RunRecord:
    """Train to the end of the recipe, from the last checkpoint of the run if there is one."""
    recipe: TrainedRecipe = transfer.work.config
    steps_per_epoch(len(transfer.data.train.source), recipe.training.batch_size)  # refuses a batch larger than the data
    with joined():
        problem = problem_type(transfer)
        with open_transfer(transfer, problem.device, problem.load_report, problem.flops_per_image()) as run:
            _train(problem, run)
        return run.record


def _train(problem: ClassificationProblem[Any], run: Run) -> None:
    recipe, data, task = problem.recipe, problem.data, problem.transfer.task
    samples = problem.training_samples()
    every = recipe.evaluate_every_epochs * steps_per_epoch(len(samples), recipe.training.batch_size)
    loop = Loop(problem, samples, recipe.training, run, problem.seed, recipe.data.max_unreadable, every)
    progress = loop.train()
    final = problem.last or problem.measure(data.test)  # resumed after the last step: only the files were missing
    further = {name: further_scores(problem.measure(each.images), each) for name, each in data.test_sets.items()}
    if not ranks.is_main():
        return
    write_results(run.folder, final, data, further)
    problem.write_results(run.folder, final)
    exported = problem.export(run.folder.encoder, run.record.run_id, recipe.training.epochs_seen(loop.per_epoch))
    unreadable = tuple(dict.fromkeys([*progress.unreadable, *problem.unreadable.names]))
    run.complete(
        **loop.summary(),
        metrics=metric_values(task, progress.evaluations, declared(further, task)),
        exported_sha256=exported.sha256 if exported else None,
        data=run.record.data.model_copy(update={"unreadable": unreadable}),
    )
