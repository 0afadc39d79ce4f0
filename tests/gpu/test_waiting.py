"""Between two log lines the host does not wait for the device: it hands out work and goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.profiler import ProfilerActivity, profile

from benchmarks.config import Recipe
from benchmarks.data.fingerprint import Fingerprint
from benchmarks.data.image_source import ImageFiles
from benchmarks.engine.loop import Loop
from benchmarks.engine.samples.images import Batch, NormaliseBytes
from benchmarks.runs.folder import Run, RunFolder
from benchmarks.runs.record import RunRecord
from pretrain.run.image_files import Images
from pretrain.run.train import MaskedImageModelling
from tests.gpu.test_step import SIZE, encoders, method_of, recipe_of

WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize", "Memcpy DtoH")
SETTLING = 3


class Steps:
    """Training steps on batches of bytes, as the loader gives them: in pinned memory where there is a GPU."""

    def __init__(self, folder: Path, device: torch.device, encoder: str, *overrides: str) -> None:
        size = ["training.batch_size=4", "training.steps=1000", "training.epochs=null", "validation=null"]
        schedule = "training.schedule={kind: multistep, lr: 1e-3, milestone_steps: [900], warmup_steps: 2}"
        logs = ["training.log_every_steps=1000", f"training.device={device.type}", schedule]
        recipe = recipe_of(encoder, *size, *logs, *overrides)
        images = ImageFiles(folder, [folder / f"{number}.png" for number in range(4)])
        named = Recipe("digits_simmim", recipe, ())
        self.problem = MaskedImageModelling(named, 0, Images(folder, images, None, Fingerprint(0, "content", "")))
        self.problem.place()
        record: Any = RunRecord.model_construct
        run = Run(RunFolder(folder), record(run_id="steps", seconds=0.0))
        self.loop = Loop(self.problem, self.problem.training_samples(), recipe.training, run, 0, 0)
        self.problem.model.train()
        count = 4 // recipe.training.accumulate
        pixels = torch.randint(0, 256, (count, SIZE, SIZE, 3), dtype=torch.uint8)
        labels = torch.zeros(count, dtype=torch.int64)
        if device.type == "cuda":
            pixels, labels = pixels.pin_memory(), labels.pin_memory()
        self._batch = Batch(pixels, labels, [], labels, NormaliseBytes(recipe.data.mean, recipe.data.std))

    def take(self, count: int) -> None:
        for _ in range(count):
            self.loop.train_step([self._batch] * self.loop.training.accumulate)
            self.loop._after_step()


@pytest.mark.parametrize(
    ("encoder", "override"),
    [
        ("Swin", "training.precision=fp32"),
        ("Swin", "training.precision=bf16"),
        ("Swin", "training.precision=fp16"),
        ("Swin", "training.fast_step=false"),
        ("Swin", "training.accumulate=2"),
        ("Swin", "masking={kind: square, mask_patch_size_px: 16}"),
        ("Swin", "masking={kind: blockwise, mask_patch_size_px: 16}"),
        ("SwinV2", "training.precision=bf16"),
        ("ViT", "training.precision=bf16"),
    ],
)
def test_the_host_waits_for_nothing_between_log_lines(
    encoder: str, override: str, tmp_path: Path, device: torch.device
) -> None:
    """torch itself refuses what waits, and the profiler sees every call of the driver. On a CPU the steps are taken."""
    steps = Steps(tmp_path, device, encoder, override)
    steps.take(SETTLING)
    if device.type == "cpu":
        steps.take(1)
    else:
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error")
        try:
            with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as seen:
                steps.take(3)
                torch.cuda.set_sync_debug_mode("default")
        finally:
            torch.cuda.set_sync_debug_mode("default")
        names = [event.key for event in seen.key_averages() if event.key.startswith(WAITS)]
        assert set(names) <= {"cudaDeviceSynchronize"}, names  # the profiler's own, at its end
    assert steps.loop.step == SETTLING + (1 if device.type == "cpu" else 3)
    assert len(steps.loop._numbers.losses()) == steps.loop.step


@encoders
@pytest.mark.parametrize("fast", [True, False], ids=["fast", "plain"])
def test_nothing_in_a_step_depends_on_values_that_the_host_would_have_to_read(encoder: str, fast: bool) -> None:
    """Tensors without values go through loss and gradients: an `.item()`, or a mask as an index, would be refused."""
    recipe = recipe_of(encoder, f"training.fast_step={fast}")
    method = method_of(recipe, torch.device("cpu"))
    patch = method.model.encoder.patch_size_px
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        images = mode.from_tensor(torch.zeros(4, 3, SIZE, SIZE))
        hidden = recipe.masking.sample(4, SIZE, patch, torch.Generator().manual_seed(0))
        loss = method.loss(images, hidden)
        loss.backward()
        with pytest.raises(DataDependentOutputException):
            loss.item()
