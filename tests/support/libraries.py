"""Libraries of others, to whose results ours are compared."""

from __future__ import annotations

import importlib
import os
from typing import Any

import pytest


def library(module: str, package: str) -> Any:
    """Import such a library. Skips, with the reason, where that fails; in CI, which installs it, the test fails."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        reason = f"needs {package}, which the `test` extra installs ({error})"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason, allow_module_level=True)
