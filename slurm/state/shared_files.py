"""Waiting for a file that another host writes, which takes a while to show on a shared file system."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

SHARED_FILES_S = 30.0
"""How long such a file may take to show, or, where it is damaged, somebody may take to submit again."""
LOOK_EVERY_S = 1.0

T = TypeVar("T")


def wait_for(look: Callable[[], T | None], patience_s: float = SHARED_FILES_S) -> T | None:
    """Return what `look` finds, looking again every second; None where it has found nothing after `patience_s`."""
    deadline = time.monotonic() + patience_s
    while (found := look()) is None and time.monotonic() < deadline:
        time.sleep(LOOK_EVERY_S)
    return found
