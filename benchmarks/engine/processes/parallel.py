"""A model over the processes of a run: copied to each of them (DDP), or divided between them (FSDP2).

A process that was joined to no others (`exchange.joined`) has the model as it is, since torch's part for divided models
takes a second to import. A group of one process, which only tests make, has it as larger ones do.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed import get_world_size, is_initialized
from torch.nn.parallel import DistributedDataParallel

from benchmarks import ranks


def copied(module: nn.Module) -> nn.Module:
    """Return the module as one that averages gradients over ranks; alone, the module itself."""
    return DistributedDataParallel(module, gradient_as_bucket_view=True) if is_initialized() else module


def divide(model: nn.Module, blocks: Iterable[nn.Module], device: torch.device) -> None:
    """Divide parameters, gradients and optimiser state between ranks, gathered block by block; alone, do nothing.

    Parameters are replaced: make parameter groups afterwards. Every rank has to run the model equally often.
    """
    if not is_initialized():
        return
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(device.type, (get_world_size(),))
    for block in blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)


def without_exchange(module: nn.Module, model: nn.Module, last: bool) -> AbstractContextManager[Any]:
    """Return the context of a backward pass; gradients are exchanged between ranks only in the `last` of a step."""
    if isinstance(module, DistributedDataParallel):
        return contextlib.nullcontext() if last else module.no_sync()
    if is_initialized():
        from torch.distributed.fsdp import FSDPModule

        if isinstance(model, FSDPModule):
            model.set_requires_gradient_sync(last)
    return contextlib.nullcontext()


def whole(tensor: Tensor) -> Tensor:
    """Return a tensor as one rank alone would have it; to be called on every rank."""
    if not is_initialized():
        return tensor
    from torch.distributed.tensor import DTensor

    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def gathered_tensors(named: Iterable[tuple[str, Tensor]]) -> dict[str, Tensor]:
    """Return whole tensors on the CPU by name. Call it on every rank; the others than the main one get none.

    They are gathered in the order of their names, which need not be that in which a rank has them: after a resume an
    optimiser's state is ordered as safetensors happened to list it in that process.
    """
    found = {}
    for name, tensor in sorted(named, key=lambda item: item[0]):
        complete = whole(tensor.detach())
        if ranks.is_main():
            found[name] = complete.cpu().contiguous()
    return found


def divided_like(tensor: Tensor, own: Tensor) -> Tensor:
    """Return this rank's part of a whole tensor, where `own` is one of its parts; else the tensor."""
    if not is_initialized():
        return tensor
    from torch.distributed.tensor import DTensor, distribute_tensor

    if not isinstance(own, DTensor) or tensor.shape != own.shape:
        return tensor
    return distribute_tensor(tensor.to(own.device), own.device_mesh, own.placements, src_data_rank=None)
