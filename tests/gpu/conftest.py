"""The device that this folder's tests run on, as `make test-gpu` or nobody says."""

from __future__ import annotations

import os

import pytest
import torch

from tests.gpu.__main__ import DEVICE
from tests.transfer.conftest import digit_boxes, scenes

__all__ = ["digit_boxes", "scenes"]


@pytest.fixture(scope="session")
def device() -> torch.device:
    return torch.device(os.environ.get(DEVICE, "cpu"))


@pytest.fixture
def gpu(device: torch.device) -> torch.device:
    """The device, of a check that says nothing on a CPU."""
    if device.type != "cuda":
        pytest.skip("says nothing without a GPU (make test-gpu)")
    return device


@pytest.fixture(autouse=True)
def _as_exact_as_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """cuDNN's convolutions round fp32 to 10 bits of mantissa unless they are asked not to; matrix products do not."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
