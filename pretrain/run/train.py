"""One pretraining run, from a checked recipe to an exported encoder."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks import huge_pages, ranks
from benchmarks.config import Recipe
from benchmarks.data.image_source import ImageSource
from benchmarks.encoders import EncoderManifest
from benchmarks.engine.device import choose_device, device_name
from benchmarks.engine.evaluation import Walk
from benchmarks.engine.flops import forward_flops
from benchmarks.engine.loop import Loop
from benchmarks.engine.optim import decays, parameter_groups
from benchmarks.engine.run import Outcome, TrainedProblem, train
from benchmarks.engine.samples.images import Batch, ImageSamples
from benchmarks.engine.samples.unreadable import Unreadable
from benchmarks.engine.seeding import derive, generator, seed_all
from benchmarks.errors import UserError
from benchmarks.families.products import ONEDNN as ONEDNN_LINEAR
from benchmarks.families.products import faster_by_onednn, multiply_by_onednn
from benchmarks.families.table import family_of
from benchmarks.runs.folder import Run, open_run
from benchmarks.runs.record import LoadReport, MetricValue, RunRecord
from benchmarks.runs.rungs import MASKED_LOSS, first_evaluation
from benchmarks.training.optimizers import AdamW
from benchmarks.verbs.command import Work, first_record
from pretrain.method.avg_dist import avg_dist_of
from pretrain.method.fast_step import APART, BIASES, ONEDNN, RECOMPUTED
from pretrain.method.simmim import SimMIM, build_method
from pretrain.recipe import PretrainRecipe
from pretrain.run.crops import training_samples
from pretrain.run.export import export_encoder
from pretrain.run.fast_jpegs import decode_jpeg
from pretrain.run.held_out import MaskedBatch, MaskedSamples, held_out_loss
from pretrain.run.image_files import Images
from pretrain.run.start import Start

AVG_DIST = "avg_dist_px"
"""The name in the record of AvgDist of the recipe's masks."""


class MaskedImageModelling(TrainedProblem[Batch]):
    """SimMIM as a problem for the training loop."""

    model: SimMIM

    load_report: LoadReport | None = None
    """The proof of what was loaded; None where all weights are random."""

    def __init__(
        self,
        recipe: Recipe[PretrainRecipe],
        seed: int,
        images: Images,
        start: Start | None = None,
        until: float | None = None,
        begun: tuple[str, ...] | None = None,
    ) -> None:
        """`until`: the share of the training at which it pauses, after its next evaluation; None: at no share.

        `begun`: the faster ways of the run that goes on; None: a new one.
        """
        self.named_recipe, self.recipe, self.seed, self.images = recipe, recipe.config, seed, images
        self.training = self.recipe.training
        self.device = choose_device(self.training)
        seed_all(derive(seed, "weights"))
        self.method = build_method(self.recipe, self.device)
        self.model = self.method.model
        self.start, self.until, self._begun = start, until, begun
        if start is not None:
            self.load_report = start.load(self.model, self.recipe)
        self.flops_per_image = self._flops()
        self.unreadable = Unreadable(self.recipe.data.max_unreadable)
        self.held_out = self._held_out(images.held_out) if images.held_out is not None else None
        self.exports: dict[int, Callable[[], object]] = {}
        """By step, the export to write after it."""

    def blocks(self, model: nn.Module) -> list[nn.Module]:
        assert isinstance(model, SimMIM)
        return model.encoder.blocks

    def groups(self) -> list[dict[str, Any]]:
        return parameter_groups(self.model, self.training.weight_decay, decays=self._decays)

    def place(self) -> None:
        if self.recipe.training.compile:
            self.model.encoder.compile_blocks(self.method.in_window_order)
        if self.by_onednn:
            multiply_by_onednn(self.model.encoder)
        super().place()

    @property
    def by_onednn(self) -> bool:
        """Whether oneDNN computes the products of linear layers; of a run that goes on, whether it did from the start.

        Sums are in another order then, so that one begun without it would not end with the same bits.
        """
        training = self.recipe.training
        fits = self.device.type == "cpu" and training.precision == "fp32" and not training.compile
        if self.method.fast is None or not fits:
            return False
        return faster_by_onednn() if self._begun is None else ONEDNN in self._begun

    @property
    def fast_ways(self) -> tuple[str, ...]:
        """What a step does in a faster way than the plain one, in words."""
        if self.method.fast is None:
            return ()
        training, windows, on_cpu = self.recipe.training, self.method.fast.windows, self.device.type == "cpu"
        own = windows and not training.compile  # a compiler decides by itself how blocks are computed
        adds_biases = own and on_cpu and training.precision == "bf16" and ONEDNN_LINEAR is not None
        found = {
            RECOMPUTED: own,
            APART: windows and family_of(self.model.encoder.backbone).attends_within_shifts,
            BIASES: adds_biases,
            "a fused update": isinstance(training.optimizer, AdamW),
            "compiled blocks": training.compile,
            ONEDNN: self.by_onednn,
            "huge pages": on_cpu and huge_pages.asked(),
        }
        return (*self.method.fast.names, *(name for name, taken in found.items() if taken))

    def _flops(self) -> float:
        size, side = self.recipe.image_size_px, self.recipe.image_size_px // self.model.encoder.patch_size_px
        image = torch.zeros(1, self.recipe.encoder.in_chans, size, size, device=self.device)
        hidden = torch.ones(1, side, side, dtype=torch.bool, device=self.device)
        return forward_flops(self.model, lambda: self.model(image, hidden))

    def _decays(self, name: str, parameter: Tensor) -> bool:
        is_token = parameter is self.model.encoder.mask_token
        return self.model.encoder.mask_token_decays if is_token else decays(name, parameter)

    def _held_out(self, source: ImageSource) -> Walk[MaskedBatch]:
        samples = MaskedSamples(self.recipe, source, self.model.encoder.patch_size_px)
        return Walk(self.model, samples, self.device, self.training, self.unreadable)

    def training_samples(self) -> ImageSamples:
        return training_samples(self.recipe, self.images.training, self.seed)

    def evaluation_interval(self, steps_per_epoch: int) -> int | None:
        validation = self.recipe.validation
        return None if validation is None else validation.every_epochs * steps_per_epoch

    def loss(self, batch: Batch, step: int) -> Tensor:
        """Return the masked loss; the masks of the global batch depend on seed and step only."""
        recipe, patch = self.recipe, self.model.encoder.patch_size_px
        # Masks are drawn on the device: a copy from the host would wait for all that the device has still to do.
        batch_size, random = recipe.training.batch_size, generator(self.seed, "mask", step, device=self.device)
        hidden = recipe.masking.sample(batch_size, recipe.image_size_px, patch, random)
        return self.method.loss(batch.images, hidden[self.rows])

    def evaluate(self, last: bool) -> dict[str, float]:  # noqa: ARG002 (the loop's protocol)
        """Return the loss on the images that are held out."""
        return {} if self.held_out is None else {MASKED_LOSS: held_out_loss(self.method, self.held_out)}

    def begin(self, loop: Loop[Batch], run: Run) -> None:
        """Plan exports and a pause on the way. Raises UserError where the training ends before one of them."""
        for epoch in self.recipe.export_epochs:
            step = epoch * loop.per_epoch
            if step > loop.total_steps:
                rule = f"epochs of this training, which ends after {loop.total_steps / loop.per_epoch:g}"
                raise UserError.about("export_epochs", epoch, rule, "leave it out, or train for longer")
            self.exports[step] = partial(self._export, epoch, run.folder.encoder_after(epoch), run)
        if self.until is not None:
            assert loop.evaluate_every_steps is not None, "without held-out images `--until` is refused before"
            loop.pause_at = first_evaluation(self.until, loop.total_steps, loop.evaluate_every_steps)
            if loop.pause_at >= loop.total_steps:
                rule = "a share of the training after which held-out images are evaluated before its end"
                raise UserError.about(
                    "--until", self.until, rule, "a smaller share, or a smaller validation.every_epochs"
                )

    def after_step(self, step: int) -> None:
        """Export the encoder where the recipe asks for it after this step."""
        if step in self.exports:
            self.exports[step]()

    def _export(self, epochs: int, folder: Path, run: Run) -> EncoderManifest | None:
        return export_encoder(self.model.encoder, self.named_recipe, epochs, folder, run.so_far())

    def finish(self, loop: Loop[Batch], run: Run) -> Outcome | None:
        epochs = self.training.epochs_seen(loop.per_epoch)
        exported = self._export(epochs, run.folder.encoder, run)
        return Outcome(_metrics(self.recipe, loop.progress.evaluations), exported) if ranks.is_main() else None


def pretrain(
    work: Work[PretrainRecipe], images: Images, start: Start | None = None, until: float | None = None
) -> RunRecord:
    """Pretrain on `images` to the end of the recipe, from the last checkpoint of the run if there is one.

    A run without a checkpoint begins at `start`, or at random weights. Raises UserError where the data do not fit the
    encoder or a library is missing, and Paused at the share `until`.
    """
    _check_channels(work.config)
    if work.config.data.decode == "fast":
        decode_jpeg()
    earlier = work.folder.earlier()
    begun = None if earlier is None else earlier.fast_ways or ()
    build = partial(MaskedImageModelling, work.recipe, work.seed, images, start, until, begun)
    return train(work.config.training, len(images.training), build, partial(_opened, work))


@contextlib.contextmanager
def _opened(work: Work[PretrainRecipe], problem: MaskedImageModelling) -> Iterator[Run]:
    start, report = problem.start, problem.load_report
    record = first_record(
        "pretrain",
        work,
        device_name(problem.device),
        image_size_px=work.config.image_size_px,
        flops_per_image=problem.flops_per_image,
        fast_ways=problem.fast_ways,
        training_images=len(problem.images.training),
        encoder=None if start is None else start.encoder.use,
        load_report=report,
        parents=() if start is None else start.encoder.parents,
    )
    with open_run(work.folder, record, work.recipe.to_yaml()) as run:
        if start is not None and report is not None:
            start.encoder.require_complete(report)
        for note in report.notes if report is not None and ranks.is_main() else ():
            print(f"note: {note}", file=sys.stderr)
        yield run


def _metrics(config: PretrainRecipe, evaluations: list[dict[str, float]]) -> dict[str, MetricValue]:
    """Return the held-out loss, the last beside the lowest, and how far the recipe's masks hide pixels."""
    found = {AVG_DIST: MetricValue(last=avg_dist_of(config.masking, config.image_size_px))}
    if evaluations:
        best = min(evaluations, key=lambda line: line[MASKED_LOSS])
        last, epoch = evaluations[-1][MASKED_LOSS], round(best["epoch"])
        found[MASKED_LOSS] = MetricValue(last=last, best=best[MASKED_LOSS], best_epoch=epoch)
    return found


def _check_channels(config: PretrainRecipe) -> None:
    channels = config.encoder.in_chans
    for name, values in (("mean", config.data.mean), ("std", config.data.std)):
        if len(values) != channels:
            rule = f"one value per input channel of the encoder ({channels})"
            raise UserError.about(f"data.{name}", list(values), rule, f"give {channels} values")
