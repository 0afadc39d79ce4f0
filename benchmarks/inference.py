"""The part of a recipe that says how a model is run where nothing is trained. Light to import."""

from __future__ import annotations

from typing import Literal

from benchmarks.config import Config, Precision, placement


class Inference(Config):
    """How a model is run over images."""

    precision: Precision = "bf16"
    """bf16 and fp16 are autocast: weights stay fp32. fp16 is for GPUs without bf16 (V100, T4)."""
    batch_size: int = placement(256, ge=1)
    """Images at once, over all processes; it changes nothing but the time and the memory."""
    sharded: bool = placement(False)
    """Divide the parameters between processes (FSDP2): each block is gathered when it is run."""
    device: Literal["auto", "cpu", "cuda"] = placement("auto")
    """auto takes a GPU where there is one."""
    workers: int = placement(8, ge=0)
    """Loader processes, at most as many as the process has cores; 0 loads in the process that runs the model."""

    @property
    def evaluated_at_once(self) -> int:
        """How many images all processes together are run on at once."""
        return self.batch_size


class Undivided(Inference):
    """How a model is run whose parameters stay together."""

    sharded: Literal[False] = placement(False)
    """Models of mmsegmentation and detectron2 are not divided: each process has a whole one."""
