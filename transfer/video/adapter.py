"""Video classification as a kind of task."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.catalogue.task import Task
from benchmarks.config import Family
from benchmarks.errors import UserError
from benchmarks.runs.environment import versions
from benchmarks.runs.record import LoadReport, RunRecord
from benchmarks.verbs.command import require_root
from transfer.adapter import Asked, Trained, Transfer
from transfer.sources.source import Source
from transfer.video.data.videos import VideoSets, read_videos
from transfer.video.recipe import AttentiveVideoRecipe, TrainedVideoRecipe, VideoRecipe

if TYPE_CHECKING:
    from transfer.video.train import ClipClassifying

PACKAGES = ("av",)


class VideoAdapter:
    """Fine-tuning on clips, or an attentive probe of them, and testing with several views of each video."""

    recipe: Family[TrainedVideoRecipe] = Family(
        "protocol", {"finetune": VideoRecipe, "attentive": AttentiveVideoRecipe}, default="finetune"
    )
    config_field = None

    def missing_requirements(self) -> list[str]:
        return sorted(set(PACKAGES) - versions(PACKAGES).keys())

    def find_data(self, task: Task, recipe: TrainedVideoRecipe) -> VideoSets:
        root: Path = require_root(recipe.data.root)
        task.provide(root)
        return read_videos(recipe.data, task.num_classes, recipe.held_out)

    def test_set_alone(self, recipe: TrainedVideoRecipe) -> TrainedVideoRecipe:
        test = {"train": recipe.data.test, "train_list": recipe.data.test_list}
        nothing_held_out = {"grid": None} if isinstance(recipe, AttentiveVideoRecipe) else {}
        return recipe.model_copy(update={"data": recipe.data.model_copy(update=test), **nothing_held_out})

    def would_load(self, recipe: TrainedVideoRecipe, source: Source) -> LoadReport:
        from transfer.encoder.model import on_meta
        from transfer.video.attentive import build_frozen
        from transfer.video.model import build_video_model

        if isinstance(recipe, AttentiveVideoRecipe):
            return on_meta(lambda: build_frozen(recipe, source, 0)).report
        assert isinstance(recipe, VideoRecipe), "the other protocol"
        return on_meta(lambda: build_video_model(recipe, source, 1, 0)).report

    def trained(self, asked: Asked) -> Trained:
        rule = "a finished run of ours, for tasks of video: the heads of others are not read yet"
        raise UserError.about("--model", asked.reference, rule, "run the model's own library for its score")

    def problem(self, recipe: TrainedVideoRecipe) -> type[ClipClassifying[Any]]:
        from transfer.video.attentive import AttentiveVideo  # torch, only now that there is work
        from transfer.video.train import VideoClassifying

        return VideoClassifying if isinstance(recipe, VideoRecipe) else AttentiveVideo

    def run(self, transfer: Transfer) -> RunRecord:
        from transfer.run import train_transfer

        return train_transfer(transfer, self.problem(transfer.work.config))
