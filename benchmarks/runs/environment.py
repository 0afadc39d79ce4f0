"""What this machine is: packages, commit, device, memory."""

from __future__ import annotations

import importlib.metadata
import platform
import resource
import subprocess
import sys
from pathlib import Path

from benchmarks.runs.record import Environment

COMMIT = Path(__file__).parent.parent.parent / "COMMIT"
"""Present only in a snapshot of the code: the commit that it was taken from."""
STATUS = Path("/proc/self/status")
"""What Linux says of this process."""
PACKAGES = ("mimbench", "torch", "torchvision", "timm", "numpy", "pillow", "safetensors", "pydantic", "submitit")


def describe(device: str) -> Environment:
    """Describe where a run happens. Holds package versions and a host name; no paths, users or variables."""
    return Environment(
        python=platform.python_version(),
        packages=versions(PACKAGES),
        git_commit=git_commit(),
        device=device,
        host=platform.node(),
    )


def versions(packages: tuple[str, ...]) -> dict[str, str]:
    """Return the versions of those of `packages` that are installed."""
    found = {}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def git_commit() -> str | None:
    """Return this source tree's commit, with `+changes` where files differ from it; None outside git."""
    if COMMIT.is_file():
        return COMMIT.read_text(encoding="utf-8") or None
    here = Path(__file__).parent
    try:
        commit = subprocess.run(
            ["git", "rev-parse", "--short=12", "HEAD"], cwd=here, capture_output=True, text=True, check=True
        ).stdout.strip()
        changed = subprocess.run(["git", "diff", "--quiet", "HEAD"], cwd=here, capture_output=True).returncode
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{commit}+changes" if changed else commit


def peak_memory_mb() -> float:
    """Return the largest resident size of this process so far, in MB (10^6 bytes).

    Linux counts what started a program as part of it in `getrusage`, and not in the program's status.
    """
    try:
        lines = STATUS.read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024e-6
    except (OSError, StopIteration):  # no Linux
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak * (1e-6 if sys.platform == "darwin" else 1024e-6)
