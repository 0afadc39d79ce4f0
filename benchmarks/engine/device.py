"""Where tensors live and in which precision they are multiplied."""

from __future__ import annotations

from typing import Protocol

import torch

from benchmarks.errors import UserError
from benchmarks.inference import Inference
from benchmarks.runs import environment


class Compute(Protocol):
    """The part of a recipe that says on what, and how precisely, a model runs: its `training` or `inference`."""

    @property
    def device(self) -> str: ...
    @property
    def precision(self) -> str: ...


def choose_device(compute: Compute) -> torch.device:
    """Return the device a recipe asks for. Raises UserError when a GPU is asked for and none is there."""
    if compute.device == "cuda" and not torch.cuda.is_available():
        field = "inference.device" if isinstance(compute, Inference) else "training.device"
        rule = "a CUDA device that torch can see"
        raise UserError.about(field, "cuda", rule, f"set {field}=auto; `mimbench doctor` says why")
    if compute.device == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", torch.cuda.current_device())


def device_name(device: torch.device) -> str:
    """Return a name for the record, e.g. `NVIDIA H100 80GB HBM3` or `cpu (1 thread)`."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"cpu ({threads} thread{'s' if threads > 1 else ''})"


def autocast(device: torch.device, compute: Compute) -> torch.autocast:
    """Return the context of the forward pass: bf16 autocast, or nothing for fp32."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=compute.precision == "bf16")


def peak_memory_mb(device: torch.device) -> float:
    """Return the most memory used so far, in MB: the GPU's where there is one, else this process's."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    return environment.peak_memory_mb()
