"""Randomness that is the same whatever the number of workers, and after a resume."""

from __future__ import annotations

import contextlib
import hashlib
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor


def derive(seed: int, *parts: int | str) -> int:
    """Return a 63-bit seed for one purpose, e.g. `derive(seed, "mask", step)`; different parts never collide in use."""
    text = "\0".join(map(str, (seed, *parts)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *parts: int | str) -> torch.Generator:
    """Return a CPU generator of its own for one purpose."""
    return torch.Generator().manual_seed(derive(seed, *parts))


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


def random_state() -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return all random states as (JSON data, tensors)."""
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    version, internal, gauss = random.getstate()
    data = {
        "numpy": [str(name), np.asarray(keys).tolist(), int(position), int(has_gauss), float(cached)],
        "python": [version, list(internal), gauss],
    }
    tensors = {"cpu": torch.get_rng_state()}
    tensors |= {f"cuda{index}": state for index, state in enumerate(_cuda_states())}
    return data, tensors


def restore_random_state(data: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Put back what `random_state` returned."""
    version, internal, gauss = data["python"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, position, has_gauss, cached = data["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), position, has_gauss, cached))
    torch.set_rng_state(tensors["cpu"])
    for index in range(len(_cuda_states())):
        if (state := tensors.get(f"cuda{index}")) is not None:
            torch.cuda.set_rng_state(state, index)


def _cuda_states() -> list[Tensor]:
    return torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
