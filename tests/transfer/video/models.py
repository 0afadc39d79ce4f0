"""Video models of encoders of images, and clips for them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from benchmarks.config import load_recipe
from transfer.sources.references import resolve
from transfer.video.model import build_video_model
from transfer.video.recipe import VideoRecipe


def recipe(*overrides: str) -> VideoRecipe:
    sizes = ("patch_frames=2", "window_frames=4")
    return load_recipe(VideoRecipe, "transfer", "digit_motion_finetune", (*sizes, *overrides)).config


def build(reference: str, chosen: VideoRecipe) -> Any:
    return build_video_model(chosen, resolve(reference), num_classes=5, seed=0)


def clips(frames: int = 8, side: int = 32) -> Tensor:
    return torch.randn(2, 3, frames, side, side, generator=torch.Generator().manual_seed(1))
