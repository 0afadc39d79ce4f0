"""Large tensors on a CPU in memory pages of 2 MB, which the system hands out 512 times as fast as those of 4 kB.

torch reads its variable when it makes its first tensor; what is computed is the same to the bit.
"""

from __future__ import annotations

import os
import sys

VARIABLE = "THP_MEM_ALLOC_ENABLE"


def ask() -> None:
    """Ask torch for huge pages, here and in processes that this one starts, unless the variable is set already.

    Does nothing once torch is imported, which is too late.
    """
    if "torch" not in sys.modules:
        os.environ.setdefault(VARIABLE, "1")


def asked() -> bool:
    """Tell whether torch was asked for them."""
    return os.environ.get(VARIABLE) == "1" and sys.platform == "linux"
