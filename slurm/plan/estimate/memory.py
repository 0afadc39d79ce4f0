"""How much memory a training takes on each device, and how much disk, by arithmetic."""

from __future__ import annotations

import math
from typing import NamedTuple

from slurm.plan.estimate.encoders import HALVES, SIZES
from slurm.plan.estimate.span import Span
from slurm.plan.estimate.work import Work

WEIGHT_BYTES = GRADIENT_BYTES = 4
CAST_BYTES = 2
"""Of the copy of each weight that autocast makes for the matrices, of the whole model even where it is divided."""
LEAST_BYTES, MOST_BYTES = 5e8, 3e9
"""What else a process holds: context, libraries, buffers of products and exchanges."""
FRAGMENTED = 1.15
"""Reserved memory by what is used of it, at most."""
NOT_FREED = 0.85
"""What is kept at the peak by what all blocks keep: the first gradients come when the head has freed its part."""
KEPT_CHECKPOINTS = 2
"""The newest ones, beside which the next is written."""


class Memory(NamedTuple):
    """The parts of one device's memory, in bytes."""

    states: float
    """Weights, gradients, and what the optimiser keeps."""
    gathered: float
    """Copies of weights for computing, and what is gathered of a divided model at once."""
    activations: float
    """What is kept for the backward pass, and the block at work."""

    @property
    def total_mb(self) -> Span:
        """The sum with all else that a process holds, in MB."""
        low = self.states + NOT_FREED * self.activations + LEAST_BYTES
        high = FRAGMENTED * (self.states + self.gathered + self.activations) + MOST_BYTES
        return Span(low / 1e6, high / 1e6)


def memory_of(work: Work, images: float, processes: int) -> Memory:
    """Return the memory of each of several processes that has `images` at once."""
    states = WEIGHT_BYTES * work.parameters + (GRADIENT_BYTES + work.state_bytes) * work.trained
    size = SIZES[work.precision]
    gathered = CAST_BYTES * work.parameters if work.precision in HALVES else 0.0
    if work.sharded and processes > 1:
        states /= processes
        gathered += 2 * (WEIGHT_BYTES + GRADIENT_BYTES) * work.encoder.largest_block
    at_work = work.encoder.largest_kept * size if work.recomputed else 0.0
    return Memory(states, gathered, images * (work.kept_bytes + at_work))


def disk_mb(work: Work, exports: int = 1) -> Span:
    """Return what a run leaves on disk, and what it takes at most: checkpoints, and the encoder's exports."""
    checkpoint = WEIGHT_BYTES * work.parameters + work.state_bytes * work.trained
    encoders = WEIGHT_BYTES * work.encoder.parameters * exports
    return Span((checkpoint + encoders) / 1e6, ((KEPT_CHECKPOINTS + 1) * checkpoint + encoders) / 1e6)


def exchanged_bytes(work: Work, processes: int) -> float:
    """Return what each process sends in a step: gradients, reduced by a ring; of a divided model, weights twice, too.

    A ring of N processes sends 2 (N - 1) / N of what is summed (arXiv:1802.05799); gathering or scattering alone, half.
    """
    share = (processes - 1) / processes
    gradients = GRADIENT_BYTES * work.trained
    if work.sharded:
        return share * (2 * WEIGHT_BYTES * work.parameters + gradients)
    return 2 * share * gradients


def accumulations(work: Work, images: float, processes: int, limit_mb: float) -> int | None:
    """Return in how many parts at least a process takes its images to stay within its memory; None for no number."""
    for parts in (2**power for power in range(1 + int(math.log2(max(1.0, images))))):
        if memory_of(work, images / parts, processes).total_mb.high <= limit_mb:
            return int(parts)
    return None
