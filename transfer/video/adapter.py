"""Video classification as a kind of task."""

from __future__ import annotations

from pathlib import Path

from benchmarks.catalogue.tasks import Task
from benchmarks.runs.command import require_root
from benchmarks.runs.environment import versions
from benchmarks.runs.record import RunRecord
from transfer.adapter import Transfer
from transfer.video.data.videos import VideoSets, read_videos
from transfer.video.recipe import VideoRecipe

PACKAGES = ("av",)


class VideoAdapter:
    """Fine-tuning on clips, and testing with several views of each video."""

    recipe = VideoRecipe
    config_field = None

    def missing_requirements(self) -> list[str]:
        return sorted(set(PACKAGES) - versions(PACKAGES).keys())

    def find_data(self, task: Task, recipe: VideoRecipe) -> VideoSets:
        root: Path = require_root(recipe.data.root)
        task.provide(root)
        return read_videos(recipe.data, task.num_classes)

    def run(self, transfer: Transfer) -> RunRecord:
        from transfer.run import train_transfer  # torch, only now that there is work
        from transfer.video.train import VideoClassifying

        return train_transfer(transfer, VideoClassifying)
