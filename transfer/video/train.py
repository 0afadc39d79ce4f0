"""One video run: an encoder of images with a fresh head, trained on clips and tested on views of whole videos."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks import ranks
from benchmarks.encoders import EncoderManifest
from benchmarks.engine.device import choose_device
from benchmarks.engine.flops import forward_flops
from benchmarks.engine.loop import Loop, Problem
from benchmarks.engine.processes.exchange import joined
from benchmarks.engine.samples.images import Batch as TestBatch
from benchmarks.engine.samples.loaders import evaluation_loader, steps_per_epoch
from benchmarks.engine.samples.unreadable import Unreadable
from benchmarks.errors import UserError
from benchmarks.runs.folder import Run
from benchmarks.runs.record import RunRecord
from transfer.adapter import Transfer
from transfer.classification.evaluate import Evaluation, Predictions, evaluate
from transfer.classification.results import scores_of, write_results
from transfer.encoder.export import export_finetuned
from transfer.run import open_transfer
from transfer.scores import metric_values
from transfer.video.data.augment import Normalise
from transfer.video.data.samples import Batch, TestViews, TrainingClips, Views
from transfer.video.data.videos import VideoSets
from transfer.video.model import Loaded, build_video_model, groups_of
from transfer.video.recipe import VideoRecipe

LINE_EVERY_VIDEOS = 250


class VideoTraining(Problem[Batch]):
    """Video classification as a problem for the training loop."""

    def __init__(self, transfer: Transfer) -> None:
        recipe: VideoRecipe = transfer.work.config
        data: VideoSets = transfer.data
        self.recipe, self.data, self.transfer, self.seed = recipe, data, transfer, transfer.work.seed
        self.device = choose_device(recipe.training)
        self.loaded: Loaded = build_video_model(recipe, transfer.source, len(data.classes), self.seed)
        self.model = self.loaded.model.to(self.device)
        self.parameter_groups = groups_of(self.loaded.model, recipe)
        self.normalise = _normalise(self.loaded)
        self.unreadable = Unreadable(recipe.data.max_unreadable)
        """Among the test videos; those among the training videos are the loop's."""
        self.last: Evaluation | None = None
        """The last evaluation with all views."""

    def flops_per_clip(self) -> float:
        """Return the FLOPs of a prediction for one view."""
        side = self.recipe.image_size_px
        clip = torch.zeros(1, 3, self.recipe.sampling.frames, side, side, device=self.device)
        return forward_flops(self.model, lambda: self.model(clip))

    def training_samples(self) -> TrainingClips:
        recipe = self.recipe
        return TrainingClips(
            self.data.train,
            recipe.sampling,
            recipe.augmentation,
            recipe.image_size_px,
            self.normalise,
            decoder=recipe.data.decoder,
            seed=self.seed,
            patience=recipe.data.max_unreadable,
        )

    def loss(self, batch: Batch, step: int) -> Tensor:  # noqa: ARG002 (the loop's protocol)
        """Return the mean cross-entropy of a batch of clips."""
        return functional.cross_entropy(self.model(batch.clips).float(), batch.labels)

    def evaluate(self, last: bool) -> dict[str, float]:
        """Return the test metrics: of one view along the way where the recipe says so, of all views at the end."""
        if last or self.recipe.views_along_the_way == "all":
            self.last = self.measure()
            return {**scores_of(self.last, self.transfer), "eval_loss": self.last.loss}
        found = self.measure("one")
        return {f"{name}_one_view": value for name, value in scores_of(found, self.transfer).items()}

    def export(self, run: Run, epochs: int) -> EncoderManifest | None:
        """Write the encoder of images to the run's folder; a Video Swin is none."""
        flat = self.loaded.model.encoder.flat
        if flat is None:
            print("note: no encoder is exported: a Video Swin's weights do not fit images", file=sys.stderr)
            return None
        return export_finetuned(flat, self.loaded.plan, self.transfer, epochs, run.folder.encoder, run.record.run_id)

    def measure(self, views: Literal["one", "all"] = "all") -> Evaluation:
        """Evaluate on the test set, each video by the mean probabilities of its views: one view is a centred clip.

        Raises WorkFailed when too many of the videos are unreadable.
        """
        recipe, sampling = self.recipe, self.recipe.sampling
        if views == "one":
            sampling = sampling.model_copy(update={"test_clips": 1, "test_crops": 1})
        samples = TestViews(self.data.test, sampling, recipe.image_size_px, self.normalise, decoder=recipe.data.decoder)
        loader = evaluation_loader(samples, ranks.world_size(), recipe.training.workers, self.device.type == "cuda")
        self.model.eval()
        found = evaluate(self.predict, self._videos(loader), self.device, recipe.training)
        self.unreadable.note(found.unreadable)
        return found

    def _videos(self, loader: Iterable[Views]) -> Iterator[TestBatch]:
        """Yield each video as a batch of its own, its views in the place of images; tell how far the test is."""
        for count, video in enumerate(loader, start=1):
            readable = len(video.views) > 0
            yield TestBatch(
                images=video.to(self.device).views,
                labels=torch.tensor([video.label] if readable else [], dtype=torch.int64),
                unreadable=video.unreadable,
                positions=torch.tensor([video.position] if readable else [], dtype=torch.int64),
            )
            if ranks.is_main() and count % LINE_EVERY_VIDEOS == 0:
                done = min(count * ranks.world_size(), len(self.data.test))
                print(f"tested {done} of {len(self.data.test)} videos", file=sys.stderr, flush=True)

    def predict(self, views: Tensor) -> Predictions:
        """Return the logarithm [1, classes] of the mean probabilities of a video's views [V, C, T, H, W]."""
        parts = [self.model(part).float().softmax(dim=1) for part in torch.split(views, self.recipe.views_at_once)]
        mean = torch.cat(parts).mean(dim=0, keepdim=True)
        return Predictions(mean.clamp_min(torch.finfo(mean.dtype).tiny).log())


def _normalise(loaded: Loaded) -> Normalise:
    if (channels := loaded.plan.architecture.in_chans) != 3:
        raise UserError.about("in_chans", channels, "3 (videos are read as RGB)", "add in_chans=3")
    return Normalise(loaded.plan.normalisation.mean, loaded.plan.normalisation.std)


def train_video(transfer: Transfer) -> RunRecord:
    """Train to the end of the recipe, from the last checkpoint of the run if there is one."""
    with joined():
        problem = VideoTraining(transfer)
        with open_transfer(transfer, problem.device, problem.loaded.report, problem.flops_per_clip()) as run:
            _train(problem, run)
        return run.record


def _train(problem: VideoTraining, run: Run) -> None:
    recipe, task, data = problem.recipe, problem.transfer.task, problem.data
    samples = problem.training_samples()
    every = recipe.evaluate_every_epochs * steps_per_epoch(len(samples), recipe.training.batch_size)
    loop = Loop(problem, samples, recipe.training, run, problem.seed, recipe.data.max_unreadable, every)
    progress = loop.train()
    final = problem.last or problem.measure()  # resumed after the last step: only the files were missing
    if not ranks.is_main():
        return
    write_results(run.folder, final, data)
    exported = problem.export(run, recipe.training.epochs_seen(loop.per_epoch))
    unreadable = tuple(dict.fromkeys([*data.missing, *progress.unreadable, *problem.unreadable.names]))
    along_the_way = progress.evaluations if recipe.views_along_the_way == "all" else ()
    run.complete(
        **loop.summary(),
        metrics=metric_values(task, along_the_way, scores_of(final, problem.transfer)),
        exported_sha256=exported.sha256 if exported else None,
        data=run.record.data.model_copy(update={"unreadable": unreadable}),
    )
