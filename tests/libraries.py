"""Other people's libraries as witnesses."""

from __future__ import annotations

import importlib
import os
from typing import Any

import pytest


def library(module: str, package: str) -> Any:
    """Import a witness. Skips, with the reason, where it cannot be imported; in CI, which installs it, that fails."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        reason = f"needs {package}, which the `test` extra installs ({error})"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason, allow_module_level=True)
