"""Errors of a training for which the machine is too small."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from benchmarks.errors import MachineFailed, Stopped, WorkFailed
from benchmarks.training.training import Training

CPU_MEMORY = "DefaultCPUAllocator"
"""Stands in torch's words where memory for a tensor of the CPU cannot be had."""


@contextlib.contextmanager
def resources_in_words(training: Training) -> Iterator[None]:
    """Raise WorkFailed where no memory is left, and MachineFailed for a loader process that was killed.

    Work that failed in a loader process is said in its own words, without the traceback that torch writes before them.
    """
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        raise _no_memory("the GPU", error, training) from error
    except MemoryError as error:
        raise _no_memory("this machine", error, training) from error
    except WorkFailed as error:
        _, in_worker, words = str(error).rpartition(f"\n{type(error).__module__}.{type(error).__qualname__}: ")
        if not in_worker:
            raise
        raise type(error)(words.rstrip()) from None
    except RuntimeError as error:
        if CPU_MEMORY in str(error):
            raise _no_memory("this machine", error, training) from error
        if "DataLoader worker" not in str(error) or isinstance(error, Stopped):
            raise
        raise MachineFailed(
            f"a loader process died: {str(error).splitlines()[0]}\n"
            "  The last checkpoint is kept; the same command goes on from there.\n"
            f"  remedy: usually memory: fewer than training.workers={training.workers}, or more memory for the job"
        ) from error


def _no_memory(where: str, error: Exception, training: Training) -> WorkFailed:
    said = str(error).partition("\n")[0]
    return WorkFailed(
        f"{where} has no memory left{said and f': {said}'}\n"
        f"  remedy: a smaller training.batch_size than {training.batch_size}, or a smaller image_size_px"
    )
