"""`make test-gpu`: all checks of this folder on this machine's GPU, by the Python that has torch there.

What is missing, a package or the GPU, is said before anything is run, with what to carry to a machine without network.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DEVICE = "MIMBENCH_TEST_DEVICE"
"""The environment variable that says on what this folder's tests run: cpu (the default) or cuda."""


def main() -> int:
    """Return pytest's exit code; 2 where nothing could be run."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    if trouble := no_torch() or what_is_missing([*project["dependencies"], "pytest"]) or no_gpu():
        print(f"test-gpu: not run: {trouble}")
        return 2
    words = ["-m", "pytest", "-ra", "--durations=10", "-p", "no:cacheprovider", "tests/gpu", *sys.argv[1:]]
    return subprocess.call([sys.executable, *words], cwd=ROOT, env=os.environ | {DEVICE: "cuda"})


def no_torch() -> str | None:
    """Return what to say where this Python is not the one that has torch."""
    if importlib.util.find_spec("torch") is not None:
        return None
    return f"{sys.executable} has no torch\n  remedy: make test-gpu PYTHON=the Python that has it"


def what_is_missing(requirements: Iterable[str]) -> str | None:
    """Return what to say where packages are not installed: their names, and the commands that bring them."""
    names = []
    for each in requirements:
        found = re.match(r"[\w.-]+", each)
        assert found is not None, each
        try:
            version(found[0])
        except PackageNotFoundError:
            names.append(found[0])
    if not names:
        return None
    return (
        f"{sys.executable} lacks {', '.join(names)}\n"
        "  remedy: with a network, and a Python of the same version on the same kind of machine,\n"
        f"            python3 -m pip download -c constraints.txt -d wheels {' '.join(names)}\n"
        "          then here, beside the folder `wheels`, without one,\n"
        f"            {sys.executable} -m pip install --no-index --find-links wheels {' '.join(names)}"
    )


def no_gpu() -> str | None:
    """Return what to say where torch sees no GPU."""
    import torch

    if torch.cuda.is_available():
        return None
    built = f"for CUDA {torch.version.cuda}" if torch.version.cuda else "without CUDA"
    return f"torch {torch.__version__}, built {built}, sees no GPU on this machine"


if __name__ == "__main__":
    sys.exit(main())
