"""One pretraining run, from a checked recipe to an exported encoder."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from torch import Tensor

from benchmarks import ranks
from benchmarks.engine.device import choose_device, device_name
from benchmarks.engine.distributed import joined
from benchmarks.engine.images import Batch
from benchmarks.engine.loaders import steps_per_epoch
from benchmarks.engine.loop import Loop, Problem
from benchmarks.engine.optim import parameter_groups
from benchmarks.engine.seeding import derive, generator, seed_all
from benchmarks.errors import UserError
from benchmarks.image_source import ImageFiles
from benchmarks.record import RunRecord
from benchmarks.run_command import Work, first_record
from benchmarks.rundir import Run, open_run
from pretrain.data import training_samples
from pretrain.export import export_encoder
from pretrain.recipe import PretrainRecipe
from pretrain.simmim import build_method


class MaskedImageModelling(Problem[Batch]):
    """SimMIM as a problem for the training loop."""

    def __init__(self, recipe: PretrainRecipe, seed: int) -> None:
        self.recipe, self.seed = recipe, seed
        self.device = choose_device(recipe.training)
        seed_all(derive(seed, "weights"))
        self.method = build_method(recipe, self.device)
        self.model = self.method.model
        self.parameter_groups = parameter_groups(self.model, recipe.training.weight_decay)
        self.exports: dict[int, Callable[[], object]] = {}
        """What to write after which step, on the main rank."""

    def loss(self, batch: Batch, step: int) -> Tensor:
        """Return the masked loss; the masks of the global batch depend on seed and step only."""
        recipe, patch = self.recipe, self.method.model.encoder.patch_size_px
        # Drawn where they are used: a copy from the host would wait for all that the device has still to do.
        batch_size, random = recipe.training.batch_size, generator(self.seed, "mask", step, device=self.device)
        hidden = recipe.masking.sample(batch_size, recipe.image_size_px, patch, random)
        return self.method.loss(batch.images, hidden[ranks.share(batch_size)])

    def after_step(self, step: int) -> None:
        """Export the encoder where the recipe wants it as it is now."""
        if step in self.exports and ranks.is_main():
            self.exports[step]()


def pretrain(work: Work[PretrainRecipe], files: list[Path]) -> RunRecord:
    """Pretrain on `files` to the end of the recipe, from the last checkpoint of the run if there is one."""
    config = work.config
    _check_channels(config)
    steps_per_epoch(len(files), config.training.batch_size)  # refuses a batch larger than the data
    with joined():
        problem = MaskedImageModelling(config, work.seed)
        device = device_name(problem.device)
        record = first_record("pretrain", work, device, image_size_px=config.image_size_px)
        with open_run(work.folder, record, work.recipe.to_yaml()) as run:
            _train(problem, work, files, run)
        return run.record


def _train(problem: MaskedImageModelling, work: Work[PretrainRecipe], files: list[Path], run: Run) -> None:
    config, record = work.config, run.record
    samples = training_samples(config, ImageFiles(work.root, files), work.seed)
    loop = Loop(problem, samples, config.training, run, work.seed, config.data.max_unreadable)
    problem.exports = _intermediate_exports(problem, work, loop)
    progress = loop.train()
    if not ranks.is_main():
        return
    epochs = config.training.epochs_seen(loop.per_epoch)
    manifest = export_encoder(problem.method.model.encoder, work.recipe, epochs, work.folder.encoder, record.run_id)
    run.complete(
        **loop.summary(),
        exported_sha256=manifest.sha256,
        data=record.data.model_copy(update={"unreadable": tuple(progress.unreadable)}),
    )


def _intermediate_exports(
    problem: MaskedImageModelling, work: Work[PretrainRecipe], loop: Loop[Batch]
) -> dict[int, Callable[[], object]]:
    """Return the recipe's `export_epochs` by step. Raises UserError where the training ends before one of them."""
    found: dict[int, Callable[[], object]] = {}
    for epoch in work.config.export_epochs:
        step, folder = epoch * loop.per_epoch, work.folder.encoder_after(epoch)
        if step > loop.total_steps:
            rule = f"epochs of this training, which ends after {loop.total_steps / loop.per_epoch:g}"
            raise UserError.about("export_epochs", epoch, rule, "leave it out, or train for longer")
        encoder, name = problem.method.model.encoder, work.folder.path.name
        found[step] = partial(export_encoder, encoder, work.recipe, epoch, folder, name)
    return found


def _check_channels(config: PretrainRecipe) -> None:
    channels = config.encoder.in_chans
    for name, values in (("mean", config.data.mean), ("std", config.data.std)):
        if len(values) != channels:
            rule = f"one value per input channel of the encoder ({channels})"
            raise UserError.about(f"data.{name}", list(values), rule, f"give {channels} values")
