"""The programs that are timed: each makes, for one recipe, a function that does one round of work."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks import ranks
from benchmarks.config import Recipe
from benchmarks.data.fingerprint import Fingerprint
from benchmarks.data.found import files_below, named_by
from benchmarks.data.image_source import ImageFiles
from benchmarks.engine.device import autocast
from benchmarks.engine.loop import Loop
from benchmarks.engine.samples.images import Batch
from benchmarks.engine.samples.loaders import SampleKey
from benchmarks.errors import UserError
from benchmarks.families.table import family_of
from benchmarks.runs.folder import Run, RunFolder
from benchmarks.runs.record import RunRecord
from benchmarks.training.training import require_full_batch
from pretrain.recipe import PretrainRecipe
from pretrain.run.crops import training_samples
from pretrain.run.image_files import Images
from pretrain.run.train import MaskedImageModelling

STEPS = 10**6
"""The length of the training whose steps are timed: no schedule ends before it."""


@dataclass(frozen=True)
class Program:
    """What is timed."""

    round: Callable[[], object]
    ways: tuple[str, ...] = ()
    flops_per_image: float | None = None
    parameters: int | None = None
    """Those that are trained; None where nobody asks."""
    parts_s: dict[str, float] = field(default_factory=dict)
    """Seconds of what came before the first round, in this order."""


class Task:
    """What every program trains on: one batch of random images on the device, and masks of the recipe."""

    def __init__(self, recipe: Recipe[PretrainRecipe], path: Path | None) -> None:
        """`path` is the checkout of a program that has one."""
        self.named, self.recipe, self.path = recipe, recipe.config, path
        none = ImageFiles(Path(), [Path()] * recipe.config.training.batch_size)
        images = Images(Path(), none, None, Fingerprint(0, "content", ""))
        torch.manual_seed(0)
        self.problem = MaskedImageModelling(recipe, 0, images)
        self.device = self.problem.device
        size, count = self.recipe.image_size_px, self.recipe.training.batch_size
        self.images = torch.randn(count, self.recipe.encoder.in_chans, size, size).to(self.device)
        random = torch.Generator(self.device).manual_seed(0)
        self.patch_px = self.problem.model.encoder.patch_size_px
        self.hidden = self.recipe.masking.sample(count, size, self.patch_px, random)

    def without_own_model(self) -> None:
        """Let go of mimbench's model, whose memory is not the other program's."""
        del self.problem

    def plain_loop(self, model: nn.Module, loss: Callable[[], Tensor], groups: Any = None) -> Program:
        """Return the steps of a plain loop: AdamW as torch builds it, clipping, the loss read after every step."""
        model.to(self.device).train()
        optimizer = torch.optim.AdamW(groups if groups is not None else model.parameters(), lr=1e-4, weight_decay=0.05)

        def step() -> None:
            optimizer.zero_grad()
            with autocast(self.device, self.recipe.training):
                value: Any = loss()
            value.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()
            value.item()

        return Program(step)


def own(task: Task) -> Program:
    """Return the steps of a pretraining as `mimbench pretrain` does them."""
    problem = task.problem
    parameters = sum(each.numel() for each in problem.model.parameters() if each.requires_grad)
    problem.place()
    training = task.recipe.training.model_copy(update={"epochs": None, "steps": STEPS, "log_every_steps": STEPS})
    record: Any = RunRecord.model_construct
    run = Run(RunFolder(Path(os.devnull)), record(run_id="bench", seconds=0.0))  # nothing of it is written
    images = task.images[ranks.share(len(task.images))]
    labels = torch.zeros(len(images), dtype=torch.int64)
    batch = Batch(images, labels, [], labels)
    loop = Loop(problem, problem.training_samples(), training, run, 0, 0)
    problem.model.train()
    step = lambda: loop.train_step([batch] * training.accumulate)  # noqa: E731
    return Program(step, problem.fast_ways, problem.flops_per_image, parameters)


def stock(task: Task) -> Program:
    """Return the steps of timm's own modules in a plain loop."""
    problem = task.problem
    loss = lambda: problem.method.objective.loss(problem.model(task.images, task.hidden), task.images, task.hidden)  # noqa: E731
    return task.plain_loop(problem.model, loss)


def hugging_face(task: Task) -> Program:
    """Return the steps of transformers' `SwinForMaskedImageModeling` in a plain loop."""
    sizes = _swin("huggingface", task)
    from transformers import SwinConfig, SwinForMaskedImageModeling

    config = SwinConfig(
        image_size=task.recipe.image_size_px,
        **{name: sizes[name] for name in ("patch_size", "embed_dim", "depths", "num_heads", "window_size")},
        encoder_stride=task.problem.model.encoder.stride_px,
        drop_path_rate=task.recipe.drop_path_rate,
    )
    task.without_own_model()
    model: Any = SwinForMaskedImageModeling(config)
    hidden = task.hidden.flatten(1)
    return task.plain_loop(model, lambda: model(pixel_values=task.images, bool_masked_pos=hidden).loss)


def simmim(task: Task) -> Program:
    """Return the steps of a checkout of microsoft/SimMIM, with its model, parameter groups and sequence of calls."""
    sizes = _swin("simmim", task)
    sys.path.insert(0, str(task.path))
    warnings.simplefilter("ignore")
    import config as settings  # type: ignore[import-not-found]  # the checkout's own modules
    import optimizer as optimizers  # type: ignore[import-not-found]
    from models.simmim import build_simmim  # type: ignore[import-not-found]

    chosen = settings._C.clone()
    chosen.defrost()
    chosen.DATA.IMG_SIZE, chosen.MODEL.DROP_PATH_RATE = task.recipe.image_size_px, task.recipe.drop_path_rate
    for name in ("patch_size", "embed_dim", "depths", "num_heads", "window_size"):
        value = sizes[name]
        chosen.MODEL.SWIN[name.upper()] = list(value) if isinstance(value, tuple) else value
    task.without_own_model()
    model: nn.Module = build_simmim(chosen)
    quiet = logging.getLogger("simmim")
    quiet.setLevel(logging.CRITICAL)
    with contextlib.redirect_stdout(sys.stderr):
        groups = optimizers.build_optimizer(chosen, model, quiet, is_pretrain=True).param_groups
    hidden = task.hidden.long()
    kept = [{name: group[name] for name in ("params", "weight_decay")} for group in groups]
    return task.plain_loop(model, lambda: model(task.images, hidden), kept)


def _swin(name: str, task: Task) -> dict[str, Any]:
    """Return the sizes of the recipe's encoder. Raises UserError unless it is a Swin with one window for all maps."""
    family = family_of(task.problem.model.encoder.backbone)
    sizes: dict[str, Any] = family.properties() if family.name == "Swin" else {}
    window = sizes.get("window_size", (None,))
    if not isinstance(window[0], int) or task.recipe.target.kind != "pixels":
        rule = "a program that trains what the recipe trains: this one knows Swin and pixels"
        raise UserError.about("--peer", name, rule, "leave it out, or take a recipe of Swin")
    return {**sizes, "window_size": window[0]}


def own_loader(recipe: Recipe[PretrainRecipe], folder: Path | None) -> Program:
    """Return rounds of a batch of samples as pretraining makes them, in one process."""
    paths = _images(recipe, folder)
    samples, epochs = training_samples(recipe.config, ImageFiles(paths[0].parent, paths), 0), itertools.count()

    def round_() -> object:
        epoch = next(epochs)
        batch = samples.collate([samples[SampleKey(position, epoch)] for position in range(len(paths))])
        return batch.to(torch.device("cpu"))

    return Program(round_, (f"decode: {recipe.config.data.decode}",))


def start(recipe: Recipe[PretrainRecipe], folder: Path | None) -> Program:
    """Return the first step of a pretraining, with the seconds of what comes before it: model, and first batch."""
    began = time.perf_counter()
    built = own(Task(recipe, None))
    stood = time.perf_counter()
    own_loader(recipe, folder).round()
    return replace(built, parts_s={"model": stood - began, "data": time.perf_counter() - stood})


def torchvision_loader(recipe: Recipe[PretrainRecipe], folder: Path | None) -> Program:
    """Return rounds of a batch as microsoft/SimMIM makes them: torchvision's transforms on PIL images."""
    from torchvision import transforms
    from torchvision.datasets.folder import pil_loader

    data, paths = recipe.config.data, _images(recipe, folder)
    made = transforms.Compose(
        [
            transforms.RandomResizedCrop(recipe.config.image_size_px, scale=data.crop_scale, ratio=data.crop_ratio),
            transforms.RandomHorizontalFlip(data.horizontal_flip),
            transforms.ToTensor(),
            transforms.Normalize(data.mean, data.std),
        ]
    )
    return Program(lambda: torch.stack([made(pil_loader(str(path))) for path in paths]))


def _images(recipe: Recipe[PretrainRecipe], folder: Path | None) -> list[Path]:
    """Return a batch of image files of a folder. Raises UserError where it has too few."""
    count = recipe.config.training.batch_size
    with named_by("--images"):
        found = list(files_below(folder or Path())[:count])
    require_full_batch(len(found), count)
    return found


Make = Callable[[Recipe[PretrainRecipe], Path | None], Program]
STEPS_OF: dict[str, Callable[[Task], Program]] = {
    "mimbench": own,
    "timm": stock,
    "huggingface": hugging_face,
    "simmim": simmim,
}
"""By name, whole training steps; the first is what the others are compared with."""
LOADERS: dict[str, Make] = {"mimbench": own_loader, "torchvision": torchvision_loader}
"""By name, images from files to a batch."""
MADE: dict[str, dict[str, Make]] = {"loader": LOADERS, "start": {"mimbench": start}}
"""By part, the programs that read images."""


def program(part: str, name: str, recipe: Recipe[PretrainRecipe], path: Path | None) -> Program:
    """Build a program by its part, `step`, `scale`, `loader` or `start`, and its name."""
    return MADE[part][name.split()[0]](recipe, path) if part in MADE else STEPS_OF[name](Task(recipe, path))
