"""One pretraining run, from a checked recipe to an exported encoder."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from benchmarks import ranks
from benchmarks.engine.device import choose_device, device_name
from benchmarks.engine.flops import forward_flops
from benchmarks.engine.loop import Loop, Problem
from benchmarks.engine.optim import decays, parameter_groups
from benchmarks.engine.processes.exchange import joined
from benchmarks.engine.processes.parallel import divide
from benchmarks.engine.samples.images import Batch
from benchmarks.engine.samples.loaders import steps_per_epoch
from benchmarks.engine.samples.unreadable import Unreadable
from benchmarks.engine.seeding import derive, generator, seed_all
from benchmarks.errors import UserError
from benchmarks.image_source import ImageFiles
from benchmarks.runs.command import Work, first_record
from benchmarks.runs.folder import Run, open_run
from benchmarks.runs.record import MetricValue, RunRecord
from pretrain.method.avg_dist import avg_dist_of
from pretrain.method.simmim import SimMIM, build_method
from pretrain.recipe import PretrainRecipe, PretrainTraining
from pretrain.run.crops import training_samples
from pretrain.run.export import export_encoder
from pretrain.run.held_out import HeldOut, MaskedSamples
from pretrain.run.image_files import Files

MASKED_LOSS, AVG_DIST = "masked_loss", "avg_dist_px"
"""What the record calls the loss on held-out images, and AvgDist of the recipe's masks."""


class MaskedImageModelling(Problem[Batch]):
    """SimMIM as a problem for the training loop."""

    model: SimMIM

    def __init__(self, recipe: PretrainRecipe, seed: int, files: Files) -> None:
        self.recipe, self.seed = recipe, seed
        self.device = choose_device(recipe.training)
        seed_all(derive(seed, "weights"))
        self.method = build_method(recipe, self.device)
        self.model = self.method.model
        self.flops_per_image = self._flops()
        self.divided = recipe.training.sharded and ranks.world_size() > 1
        _prepare(self.model, recipe.training, self.device)
        self.parameter_groups = parameter_groups(self.model, recipe.training.weight_decay, decays=self._decays)
        self.held_out = self._held_out(files) if files.held_out else None
        self.exports: dict[int, Callable[[], object]] = {}
        """What to write after which step."""

    def _flops(self) -> float:
        size, side = self.recipe.image_size_px, self.recipe.image_size_px // self.model.encoder.patch_size_px
        image = torch.zeros(1, self.recipe.encoder.in_chans, size, size, device=self.device)
        hidden = torch.ones(1, side, side, dtype=torch.bool, device=self.device)
        return forward_flops(self.model, lambda: self.model(image, hidden))

    def _decays(self, name: str, parameter: Tensor) -> bool:
        is_token = parameter is self.model.encoder.mask_token
        return self.model.encoder.mask_token_decays if is_token else decays(name, parameter)

    def _held_out(self, files: Files) -> HeldOut:
        source, patch = ImageFiles(files.root, files.held_out), self.model.encoder.patch_size_px
        return HeldOut(MaskedSamples(self.recipe, source, patch), Unreadable(self.recipe.data.max_unreadable))

    @property
    def unreadable(self) -> list[str]:
        """Files among the held-out ones that could not be read; those among the training images are the loop's."""
        return [] if self.held_out is None else self.held_out.unreadable.names

    def loss(self, batch: Batch, step: int) -> Tensor:
        """Return the masked loss; the masks of the global batch depend on seed and step only."""
        recipe, patch = self.recipe, self.model.encoder.patch_size_px
        # Drawn where they are used: a copy from the host would wait for all that the device has still to do.
        batch_size, random = recipe.training.batch_size, generator(self.seed, "mask", step, device=self.device)
        hidden = recipe.masking.sample(batch_size, recipe.image_size_px, patch, random)
        return self.method.loss(batch.images, hidden[self.rows])

    def evaluate(self, last: bool) -> dict[str, float]:  # noqa: ARG002 (the loop's protocol)
        """Return the loss on the images that are held out."""
        held_out = self.held_out
        return {} if held_out is None else {MASKED_LOSS: held_out.loss(self.method, self.recipe, self.device)}

    def after_step(self, step: int) -> None:
        """Export the encoder where the recipe wants it as it is now."""
        if step in self.exports:
            self.exports[step]()


def _prepare(model: SimMIM, training: PretrainTraining, device: torch.device) -> None:
    """Carry out the recipe's ways to train in less memory or time."""
    encoder = model.encoder
    if training.activation_checkpointing:
        encoder.checkpoint_activations()
    if training.compile:
        for block in encoder.blocks:
            block.compile()
    if training.sharded:
        divide(model, encoder.blocks, device)


def pretrain(work: Work[PretrainRecipe], files: Files) -> RunRecord:
    """Pretrain on `files` to the end of the recipe, from the last checkpoint of the run if there is one."""
    config = work.config
    _check_channels(config)
    steps_per_epoch(len(files.training), config.training.batch_size, config.training.accumulate)  # refuses misfits
    with joined():
        problem = MaskedImageModelling(config, work.seed, files)
        device = device_name(problem.device)
        record = first_record(
            "pretrain", work, device, image_size_px=config.image_size_px, flops_per_image=problem.flops_per_image
        )
        with open_run(work.folder, record, work.recipe.to_yaml()) as run:
            _train(problem, work, files, run)
        return run.record


def _train(problem: MaskedImageModelling, work: Work[PretrainRecipe], files: Files, run: Run) -> None:
    config, record = work.config, run.record
    samples = training_samples(config, ImageFiles(work.root, files.training), work.seed)
    loop = Loop(
        problem, samples, config.training, run, work.seed, config.data.max_unreadable, _evaluation_steps(config, files)
    )
    problem.exports = _intermediate_exports(problem, work, loop)
    progress = loop.train()
    epochs = config.training.epochs_seen(loop.per_epoch)
    encoder = problem.model.encoder
    manifest = export_encoder(encoder, work.recipe, epochs, work.folder.encoder, record.run_id)
    if manifest is None:
        return
    run.complete(
        **loop.summary(),
        exported_sha256=manifest.sha256,
        metrics=_metrics(config, progress.evaluations),
        data=record.data.model_copy(update={"unreadable": (*progress.unreadable, *problem.unreadable)}),
    )


def _evaluation_steps(config: PretrainRecipe, files: Files) -> int | None:
    if config.validation is None:
        return None
    return config.validation.every_epochs * steps_per_epoch(len(files.training), config.training.batch_size)


def _metrics(config: PretrainRecipe, evaluations: list[dict[str, float]]) -> dict[str, MetricValue]:
    """Return the held-out loss, the last beside the lowest, and how far the recipe's masks hide pixels."""
    found = {AVG_DIST: MetricValue(last=avg_dist_of(config.masking, config.image_size_px))}
    if evaluations:
        best = min(evaluations, key=lambda line: line[MASKED_LOSS])
        last, epoch = evaluations[-1][MASKED_LOSS], round(best["epoch"])
        found[MASKED_LOSS] = MetricValue(last=last, best=best[MASKED_LOSS], best_epoch=epoch)
    return found


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
        encoder, name = problem.model.encoder, work.folder.path.name
        found[step] = partial(export_encoder, encoder, work.recipe, epoch, folder, name)
    return found


def _check_channels(config: PretrainRecipe) -> None:
    channels = config.encoder.in_chans
    for name, values in (("mean", config.data.mean), ("std", config.data.std)):
        if len(values) != channels:
            rule = f"one value per input channel of the encoder ({channels})"
            raise UserError.about(f"data.{name}", list(values), rule, f"give {channels} values")
