"""One run in several processes: how they join and what they exchange. In a single process nothing here has an effect.

Tensors on GPUs travel by NCCL, everything else by gloo.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from datetime import timedelta
from typing import TypeVar, cast

import torch
from torch import distributed, nn

from benchmarks import ranks
from benchmarks.errors import MachineFailed, Stopped, UserError, WorkFailed

T = TypeVar("T")

PATIENCE = "MIMBENCH_PEER_TIMEOUT_S"
"""The environment variable that says for how many seconds a rank waits for one that hangs (1800)."""


@contextlib.contextmanager
def joined() -> Iterator[None]:
    """Join the run's other processes for the block. Raises UserError where the launcher's variables are missing.

    A process that torchrun started is asked to stop, and saves its state, when torchrun itself is killed: nobody else
    would end it.
    """
    if ranks.world_size() == 1:
        yield
        return
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        if name not in os.environ:
            rule = f"set where WORLD_SIZE is {ranks.world_size()}"
            remedy = "start the ranks by a pipeline or with torchrun, or unset WORLD_SIZE"
            raise UserError.about(f"environment variable {name}", "(not set)", rule, remedy)
    if ranks.TORCHRUN in os.environ:
        ranks.signalled_at_death_of_parent(signal.SIGTERM)
    if torch.cuda.is_available():
        torch.cuda.set_device(ranks.local_rank() % torch.cuda.device_count())
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    with peers_in_words():
        distributed.init_process_group(backend, timeout=timedelta(seconds=float(os.environ.get(PATIENCE, "1800"))))
        try:
            yield
        finally:
            distributed.destroy_process_group()


@contextlib.contextmanager
def peers_in_words() -> Iterator[None]:
    """Raise MachineFailed where another process of the run has ended or hangs, which gloo and NCCL report as it is."""
    try:
        yield
    except RuntimeError as error:
        lost = isinstance(error, distributed.DistError) or "gloo" in str(error)
        if not lost or isinstance(error, WorkFailed | Stopped):
            raise
        raise MachineFailed(
            f"rank {ranks.rank()} has lost another process of this run: {str(error).splitlines()[0]}\n"
            "  The last checkpoint is kept; the same command goes on from there.\n"
            "  remedy: the process that ended first tells why, or what killed it: look there (memory, time limit, node)"
        ) from error


def gathered(value: T) -> list[T]:
    """Return every rank's value, in the order of ranks, on every rank."""
    if ranks.world_size() == 1:
        return [value]
    values: list[T | None] = [None] * ranks.world_size()
    distributed.all_gather_object(values, value)
    return cast(list[T], values)


def share_buffers(model: nn.Module) -> None:
    """Give every rank the main one's buffers, which checkpoints keep: BN gathers its running means per process."""
    if ranks.world_size() > 1:
        buffers = dict(model.named_buffers())
        for name, value in gathered({name: buffer.cpu() for name, buffer in buffers.items()})[0].items():
            buffers[name].copy_(value)


def mean(values: torch.Tensor) -> torch.Tensor:
    """Return the mean over ranks of a CPU tensor; NaN where one rank has NaN."""
    if ranks.world_size() > 1:
        values = values.clone()
        distributed.all_reduce(values)
        values /= ranks.world_size()
    return values


def any_rank(number: int) -> int:
    """Return the largest of the ranks' numbers, on every rank: a request of one rank reaches all."""
    if ranks.world_size() == 1:
        return number
    flag = torch.tensor(number)
    distributed.all_reduce(flag, distributed.ReduceOp.MAX)
    return int(flag)


def require_equal(what: str, value: object) -> None:
    """Raise WorkFailed unless every rank has the same value."""
    found = gathered(value)
    if any(other != found[0] for other in found):
        raise WorkFailed(
            f"the processes of this run do not agree on {what}: {found}\n"
            "  remedy: give every node the same data, code and run folder (a shared file system)"
        )
