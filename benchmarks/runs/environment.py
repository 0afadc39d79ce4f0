"""What this machine is: packages, commit, device, memory."""

from __future__ import annotations

import importlib.metadata
import platform
import resource
import subprocess
import sys
from pathlib import Path

from benchmarks import plugins
from benchmarks.runs.record import Environment
from benchmarks.version import __version__

COMMIT = Path(__file__).parent.parent.parent / "COMMIT"
"""Present only in a snapshot of the code: the commit that it was taken from."""
PACKAGES = ("torch", "torchvision", "timm", "numpy", "pillow", "safetensors", "pydantic", "submitit")


def describe(device: str) -> Environment:
    """Describe where a run happens. Holds package versions and a host name; no paths, users or variables."""
    return Environment(
        python=platform.python_version(),
        packages={"mimbench": __version__, **versions(PACKAGES), **plugins.used()},
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
    """Return this source tree's commit, with `+changes` where files differ from it.

    It is None where git does not know this file: outside git, and of an installation that lies in another's repository.
    """
    if COMMIT.is_file():
        return COMMIT.read_text(encoding="utf-8") or None
    here = Path(__file__).parent
    try:
        subprocess.run(["git", "ls-files", "--error-unmatch", __file__], cwd=here, capture_output=True, check=True)
        commit = subprocess.run(
            ["git", "rev-parse", "--short=12", "HEAD"], cwd=here, capture_output=True, text=True, check=True
        ).stdout.strip()
        changed = subprocess.run(["git", "diff", "--quiet", "HEAD"], cwd=here, capture_output=True).returncode
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{commit}+changes" if changed else commit


def peak_memory_mb() -> float:
    """Return the largest resident size of this process so far, in MB (10^6 bytes)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1e-6 if sys.platform == "darwin" else 1024e-6)
