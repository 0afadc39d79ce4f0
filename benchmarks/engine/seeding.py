"""Randomness that is the same whatever the number of workers, and after a resume."""

from __future__ import annotations

import contextlib
import hashlib
import random
from collections.abc import Iterator

import numpy as np
import torch


def derive(seed: int, *parts: int | str) -> int:
    """Return a 63-bit seed for one purpose, e.g. `derive(seed, "mask", step)`; different parts never collide in use."""
    text = "\0".join(map(str, (seed, *parts)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *parts: int | str, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a generator of its own for one purpose; CPU and GPU draw different numbers from the same seed."""
    return torch.Generator(device).manual_seed(derive(seed, *parts))


def seed_all(seed: int) -> None:
    """Seed Python, NumPy and torch (CPU and GPUs)."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the CPU sources for the block, then put them back as they were."""
    python, numpy, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(cpu)
