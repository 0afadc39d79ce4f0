"""Errors of a training for which the machine is too small."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from benchmarks.errors import MachineFailed, Stopped, WorkFailed
from benchmarks.training.training import Training


@contextlib.contextmanager
def resources_in_words(training: Training) -> Iterator[None]:
    """Raise WorkFailed for a GPU without memory left, and MachineFailed for a loader process that was killed.

    Work that failed in a loader process is said in its own words, without the traceback that torch writes before them.
    """
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        raise WorkFailed(
            f"the GPU has no memory left: {str(error).splitlines()[0]}\n"
            f"  remedy: a smaller training.batch_size than {training.batch_size}, or a smaller image_size_px"
        ) from error
    except WorkFailed as error:
        _, in_worker, words = str(error).rpartition(f"\n{type(error).__module__}.{type(error).__qualname__}: ")
        if not in_worker:
            raise
        raise type(error)(words.rstrip()) from None
    except RuntimeError as error:
        if "DataLoader worker" not in str(error) or isinstance(error, Stopped):
            raise
        raise MachineFailed(
            f"a loader process died: {str(error).splitlines()[0]}\n"
            "  The last checkpoint is kept; the same command goes on from there.\n"
            f"  remedy: usually memory: fewer than training.workers={training.workers}, or more memory for the job"
        ) from error
