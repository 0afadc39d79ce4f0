"""Shared fixtures: the embedded digits, whole and as a small cut for runs that take seconds."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.digits.folders import write_digits
from benchmarks.files.locks import locked
from tests.support import small

os.environ.setdefault("OMP_NUM_THREADS", "1")
for _signal in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
    # A shell's background job ignores them, and so would every program that a test starts and wants to stop.
    if signal.getsignal(_signal) is signal.SIG_IGN:
        signal.signal(_signal, signal.default_int_handler if _signal is signal.SIGINT else signal.SIG_DFL)
MadeOnce = Callable[[str, Callable[[Path], object]], Path]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the slow tests, so that at the end no worker waits for another's long one."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def pytest_collection_finish() -> None:
    """Spare each garbage collection the libraries' objects, which stay: a twentieth of all tests' time."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    """Let the libraries' objects go: some complain of those that outlive them."""
    gc.unfreeze()


@pytest.fixture(autouse=True, scope="session")
def _own_features(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Let no test read features that another session left behind."""
    os.environ["MIMBENCH_FEATURES"] = str(tmp_path_factory.mktemp("features"))


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> MadeOnce:
    """Return a function of a name and of what fills a folder: the first of xdist's workers to call it does so for all.

    Nothing may change what lies there.
    """
    base = tmp_path_factory.getbasetemp()
    common = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def make(name: str, fill: Callable[[Path], object]) -> Path:
        root, done = common / "once" / name, common / "once" / f"{name}.done"
        with locked(common / "once" / f"{name}.lock", patience_s=600):
            if not done.exists():
                fill(root)
                done.touch()
        return root

    return make


@pytest.fixture(scope="session")
def digits(made_once: MadeOnce) -> Path:
    """The whole embedded data set."""
    return made_once("digits", write_digits)


@pytest.fixture
def small_digits(digits: Path, tmp_path: Path) -> Path:
    """48 unlabelled scans, 4 training and 2 test scans per class; a copy that a test may damage."""
    return small.cut_digits(digits, tmp_path / "small_digits")


@pytest.fixture
def pretrain_command(small_digits: Path) -> list[str]:
    """A real pretraining of 9 steps; add --runs."""
    return small.pretraining(small_digits)


@pytest.fixture
def transfer_command(small_digits: Path) -> list[str]:
    """A real fine-tuning of 8 steps; add --encoder and --runs."""
    return small.classification(small_digits)


@pytest.fixture(scope="session")
def motion(made_once: MadeOnce) -> Path:
    """The digits as videos."""
    from benchmarks.digits.motion import write_digit_motion

    return made_once("digit_motion", write_digit_motion)


@pytest.fixture(scope="session")
def simmim_run(digits: Path, made_once: MadeOnce) -> Path:
    """The folder of a pretraining of 9 steps, for all tests that only read it."""
    from tests.support.runs import only_run, trained

    def pretrain(folder: Path) -> None:
        trained(small.pretraining(small.cut_digits(digits, folder / "data")), folder / "runs")

    return only_run(made_once("pretrained", pretrain) / "runs")
