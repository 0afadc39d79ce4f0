"""Where tensors live, in which precision they are multiplied, and the scale of losses that fp16 needs."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor
from torch.amp.grad_scaler import GradScaler
from torch.optim import Optimizer

from benchmarks.errors import UserError, WorkFailed
from benchmarks.inference import Inference
from benchmarks.runs import environment

HALVES = {"bf16": torch.bfloat16, "fp16": torch.float16}
"""What autocast multiplies matrices in, by the recipe's precision; fp32 is none of them."""
FIRST_SCALE = 2.0**16
LEAST_SCALE = 2.0**-14
"""fp16's least normal number: where even losses this small overflow, their gradients are not small but broken."""


class Compute(Protocol):
    """The part of a recipe that says on what, and how precisely, a model runs: its `training` or `inference`."""

    @property
    def device(self) -> str: ...
    @property
    def precision(self) -> str: ...


def choose_device(compute: Compute) -> torch.device:
    """Return the device a recipe asks for.

    Raises UserError when a GPU is asked for and none is there, and for bf16 on a GPU that lacks it.
    """
    part = "inference" if isinstance(compute, Inference) else "training"
    if compute.device == "cuda" and not torch.cuda.is_available():
        rule = "a CUDA device that torch can see"
        raise UserError.about(f"{part}.device", "cuda", rule, f"set {part}.device=auto; `mimbench doctor` says why")
    if compute.device == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    device = torch.device("cuda", torch.cuda.current_device())
    if compute.precision == "bf16" and not torch.cuda.is_bf16_supported(including_emulation=False):
        major, minor = torch.cuda.get_device_capability(device)
        here = f"{torch.cuda.get_device_name(device)} has {major}.{minor}"
        rule = f"a GPU with bf16, of compute capability 8.0 or more ({here})"
        raise UserError.about(f"{part}.precision", "bf16", rule, f"set {part}.precision=fp16")
    return device


def device_name(device: torch.device) -> str:
    """Return a name for the record, e.g. `NVIDIA H100 80GB HBM3` or `cpu (1 thread)`."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"cpu ({threads} thread{'s' if threads > 1 else ''})"


def autocast(device: torch.device, compute: Compute) -> torch.autocast:
    """Return the context of the forward pass: autocast to bf16 or fp16, or nothing for fp32."""
    enabled = compute.precision in HALVES
    return torch.autocast(device.type, dtype=multiplied_in(compute) if enabled else None, enabled=enabled)


def multiplied_in(compute: Compute) -> torch.dtype:
    """Return the type in which matrices are multiplied."""
    return HALVES.get(compute.precision, torch.float32)


class LossScale(GradScaler):
    """What a loss is multiplied by before its gradients are computed in fp16; in other precisions nothing is scaled.

    It is halved after every step whose gradients overflow, and doubled after 2000 steps in a row without. Such a step
    changes no weight. All ranks see the same: gradients are averaged before they are looked at, and of a divided model
    torch exchanges what each rank found in its part.
    """

    def __init__(self, device: torch.device, compute: Compute) -> None:
        super().__init__(device.type, init_scale=FIRST_SCALE, enabled=compute.precision == "fp16")

    def overflow(self, optimizer: Optimizer) -> Tensor | None:
        """Return, on the device, above 0 where the optimiser's gradients, unscaled before, are not all finite.

        None where nothing is scaled. Nothing waits for the device.
        """
        found = self._found_inf_per_device(optimizer).values() if self.is_enabled() else ()
        return torch.stack(list(found)).sum() if found else None

    def put_back(self, state: dict[str, float]) -> None:
        """Go on with the scale of a checkpoint; one that has none is of a training that scales nothing."""
        if self.is_enabled() and state:
            self.load_state_dict(state)

    def numbers(self, skipped: int) -> dict[str, float]:
        """Return what a log line says of the scale; nothing where nothing is scaled. It waits for the device."""
        return {"loss_scale": self.get_scale(), "skipped_steps": skipped} if self.is_enabled() else {}

    def require_useful(self, where: str, remedy: str) -> None:
        """Raise WorkFailed where gradients overflow whatever the scale. It waits for the device."""
        if self.is_enabled() and (scale := self.get_scale()) < LEAST_SCALE:
            raise WorkFailed(
                f"gradients overflow fp16 {where}, even of a loss multiplied by {scale:.2g}: no step changes anything\n"
                f"  remedy: {remedy}"
            )


def peak_memory_mb(device: torch.device) -> float:
    """Return the most memory used so far, in MB: the GPU's where there is one, else this process's."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    return environment.peak_memory_mb()
