"""One study for all tests that only read it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.reports import factory


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the runs folder of `factory.study`; do not change what lies in it."""
    return factory.study(tmp_path_factory.mktemp("study"))
