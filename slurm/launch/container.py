"""How a stage's command runs in a container: opened by srun itself (pyxis), or by Apptainer or Singularity."""

from __future__ import annotations

import shlex
import sys

from slurm.graph.resources import Allocation


def pyxis_options(resources: Allocation) -> list[str]:
    """Return the options by which srun itself opens a container."""
    if not resources.container or resources.container_runtime != "pyxis":
        return []
    mounts = [f"--container-mounts={','.join(resources.container_mounts)}"] if resources.container_mounts else []
    return [f"--container-image={resources.container}", *mounts]


def inside(resources: Allocation) -> str:
    """Return the beginning of a command that runs the rest of it in a container; empty where srun opens it, or none is.

    The node's environment comes along, as with pyxis; --nv brings its GPUs and their driver.
    """
    if not resources.container or resources.container_runtime == "pyxis":
        return ""
    gpus = ["--nv"] if resources.has_gpus else []
    mounts = ["--bind", ",".join(resources.container_mounts)] if resources.container_mounts else []
    return shlex.join([resources.container_runtime, "exec", *gpus, *mounts, resources.container]) + " "


def python(resources: Allocation) -> str:
    """Return the command of the interpreter that runs stages."""
    return shlex.quote(resources.python or sys.executable)
