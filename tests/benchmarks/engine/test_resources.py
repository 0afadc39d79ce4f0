"""What a machine is too small for is said in words."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from benchmarks.engine.watch.resources import resources_in_words
from benchmarks.errors import WorkFailed
from benchmarks.training.schedules import Cosine
from benchmarks.training.training import Training


@pytest.mark.parametrize("take", [lambda: torch.empty(2**50), lambda: bytearray(2**62)])
def test_a_machine_without_memory_is_said_in_words(take: Callable[[], object]) -> None:
    """More than a process has addresses for."""
    schedule = Cosine(base_lr=1e-3, warmup_lr=0.0, min_lr=0.0, warmup_epochs=0)
    words = "this machine has no memory left(.|\n)*a smaller training.batch_size than 10"
    with (
        pytest.raises(WorkFailed, match=words),
        resources_in_words(Training(epochs=1, batch_size=10, schedule=schedule)),
    ):
        take()
