"""One study for all tests that only read it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.reports import browser, factory


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """Return a running headless browser."""
    with browser.started() as started:
        yield started


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the runs folder of `factory.study`; do not change what lies in it."""
    return factory.study(tmp_path_factory.mktemp("study"))
