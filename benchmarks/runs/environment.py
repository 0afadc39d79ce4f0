"""What this machine is: packages, commit, device, memory; and where on it a run was started.

Relative paths of a record begin in the folder in which its run was started. The record holds only the way there from
the run's own folder, such as `../..`: it names no folder of anybody's machine, and it leads to data that were moved
together with the runs.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import resource
import sys
from pathlib import Path
from typing import Any

from benchmarks import plugins
from benchmarks.runs.record import Environment, RunRecord
from benchmarks.version import __version__, git_commit

STATUS = Path("/proc/self/status")
"""What Linux says of this process."""
UP = os.path.pardir
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


def way_back(folder: Path) -> str | None:
    """Return the way from a run's folder to the current one; None where that does not lie above the run's folder."""
    try:
        way = os.path.relpath(Path.cwd(), folder.absolute())
    except (OSError, ValueError):  # the current folder is gone
        return None
    return way if set(way.split(os.sep)) == {UP} else None


def found_again(folder: Path, record: RunRecord, path: str) -> str:
    """Return where a path that a record names leads from here, when its run lies in `folder`.

    That is from where the run was started, if something is there. All other paths are returned as they are.
    """
    way = record.started_in
    if way is None or set(way.split(os.sep)) != {UP} or os.path.isabs(path):
        return path
    found = os.path.normpath(folder.absolute() / way / path)
    try:
        return found if os.path.exists(found) else path
    except ValueError:  # no path: a null byte
        return path


def with_roots_found(folder: Path, record: RunRecord) -> dict[str, Any]:
    """Return a record's recipe with the roots of its data as `found_again` gives them."""
    resolved: dict[str, Any] = dict(record.recipe.resolved)
    if isinstance(resolved.get("data"), dict):
        resolved["data"] = _roots(folder, record, resolved["data"])
    return resolved


def _roots(folder: Path, record: RunRecord, fields: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in fields.items():
        if isinstance(value, dict):
            found[name] = _roots(folder, record, value)
        else:
            found[name] = found_again(folder, record, value) if name == "root" and isinstance(value, str) else value
    return found
